import t from 'tap'
import { unionExtents } from '../../src/cbt/union-extents.js'
import type { StatedExtent } from '../../src/core/extent.js'
import { said, stated } from '../support/extents.js'

async function* answer(...lines: readonly string[]): AsyncGenerator<StatedExtent> {
  yield* stated(...lines)
}

t.test('what any answer calls changed', async t => {
  const rows: [string[][], string[]][] = [
    [[], []],
    [[[]], []],
    [[['data 0+5'], []], ['data 0+5']],
    [
      [['data 0+5', 'data 10+5'], ['data 5+2']],
      ['data 0+7', 'data 10+5'],
    ],
    [
      [['data 0+20'], ['data 5+2', 'data 30+1']],
      ['data 0+20', 'data 30+1'],
    ],
    [
      [['data 8+4'], ['data 2+8', 'data 11+9'], ['data 40+1']],
      ['data 2+18', 'data 40+1'],
    ],
  ]
  for (const [answers, expected] of rows) {
    t.strictSame(await said(unionExtents(answers.map(lines => answer(...lines)))), expected)
  }
})

t.test('an answer that fails ends the others', async t => {
  let isEnded = false
  async function* watched(): AsyncGenerator<StatedExtent> {
    try {
      yield* stated('data 0+5', 'data 10+5')
    } finally {
      isEnded = true
    }
  }
  async function* failing(): AsyncGenerator<StatedExtent> {
    yield* stated('data 0+1')
    throw new Error('no more')
  }
  await t.rejects(said(unionExtents([watched(), failing()])), /no more/)
  t.ok(isEnded)
})
