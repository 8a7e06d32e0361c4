import t from 'tap'
import { dataRow, isZeroRow, joinZeroRuns, rowDigest, rowsOf } from '../../src/native/slot-rows.js'
import type { SlotRows } from '../../src/native/slot-rows.js'
import { gather } from '../support/gather.js'
import { contentsOf, rowsFor } from '../support/trees.js'

t.test('a row is found by its position', async t => {
  const rows = rowsFor([0, 5, 0, 9])
  t.strictSame(
    [0, 1, 2, 3].map(position => isZeroRow(rows, position)),
    [true, false, true, false],
  )
  t.strictSame(contentsOf(rowsOf(rows, 1, 2)), [5, 0])
  t.same(dataRow(rowDigest(rows, 3)).subarray(1), rowDigest(rows, 3))
})

t.test('neighbouring holes are joined, and nothing else', async t => {
  async function* runs(picture: string): AsyncGenerator<SlotRows> {
    for (const [first, letter] of [...picture].entries()) {
      // A space is a slot that is left out.
      if (letter !== ' ') yield { first, count: 1, rows: letter === '.' ? null : rowsFor([1]) }
    }
  }
  const rows = [
    { picture: '', joined: [] },
    { picture: '#', joined: ['#1'] },
    { picture: '...', joined: ['.3'] },
    { picture: '..##.', joined: ['.2', '#1', '#1', '.1'] },
    { picture: '.. ..', joined: ['.2', '.2'] },
    { picture: '#. .#', joined: ['#1', '.1', '.1', '#1'] },
  ]
  for (const { picture, joined } of rows) {
    const found = await gather(joinZeroRuns(runs(picture)))
    t.strictSame(
      found.map(({ count, rows }) => `${rows === null ? '.' : '#'}${count}`),
      joined,
      picture,
    )
  }
})
