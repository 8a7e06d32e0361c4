import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { WANTED_ROW_BYTES } from '../../src/native/batch.js'
import type { SlotRows } from '../../src/native/slot-rows.js'
import { eachWindow, SlotWindow, type TakenWindow } from '../../src/pipeline/slot-window.js'
import { rowsFor } from '../support/trees.js'

/** Runs of 100 slots, data and zero in turn. */
async function* slotsUpTo(end: number): AsyncGenerator<SlotRows> {
  for (let first = 0; first < end; first += 200) {
    yield { first, count: 100, rows: rowsFor(Array.from({ length: 100 }, () => 1)) }
    yield { first: first + 100, count: 100, rows: null }
  }
}

function slotsOf({ wanted }: TakenWindow): number[] {
  const view = new DataView(wanted.buffer, wanted.byteOffset, wanted.byteLength)
  const rows = Array.from({ length: wanted.length / WANTED_ROW_BYTES }, (_, row) => row)
  return rows.map(row => Number(view.getBigUint64(row * WANTED_ROW_BYTES, true)))
}

t.test('data and zeroes are told apart, in runs as long as they are', async t => {
  const window = new SlotWindow(100)
  window.add({ first: 3, count: 4, rows: rowsFor([1, 2, 0, 0]) })
  window.add({ first: 7, count: 5, rows: null })
  window.add({ first: 12, count: 1, rows: rowsFor([3]) })
  window.add({ first: 13, count: 1, rows: rowsFor([4]) })
  const taken = window.take()
  t.strictSame(slotsOf(taken), [3, 4, 12, 13])
  t.strictSame(taken.data, [
    { first: 3, count: 2 },
    { first: 12, count: 2 },
  ])
  t.strictSame(taken.zeroes, [{ first: 5, count: 7 }])
  t.match(window.take(), { data: [], zeroes: [] })
})

t.test(
  'each slot is in one window, the first of which is small, and two are under way',
  async t => {
    const slots: number[] = []
    const counts: number[] = []
    let [underWay, most] = [0, 0]
    const work = async (window: TakenWindow) => {
      underWay += 1
      most = Math.max(most, underWay)
      const found = slotsOf(window)
      slots.push(...found)
      counts.push(found.length)
      await sleep(20)
      underWay -= 1
    }
    await eachWindow(slotsUpTo(60_000), 10_000, { work, stop: () => t.fail('nothing failed') })
    t.equal(most, 2)
    t.ok((counts[0] ?? 0) < 9000 && counts[1] === 10_000, counts.join(' '))
    t.strictSame(
      slots,
      Array.from({ length: 60_000 }, (_, slot) => slot).filter(slot => slot % 200 < 100),
    )
  },
)

t.test(
  'after a failure no window is begun, and those under way are stopped and end first',
  async t => {
    for (const failing of [0, 1, 2]) {
      let [begun, ended] = [0, 0]
      const stopping = new AbortController()
      const work = async () => {
        const number = begun
        begun += 1
        try {
          await sleep(number === failing ? 5 : number < failing ? 30 : 60_000, null, {
            signal: stopping.signal,
          })
        } finally {
          ended += 1
        }
        if (number === failing) throw new Error(`window ${number}`)
      }
      const stop = () => stopping.abort()
      await t.rejects(
        eachWindow(slotsUpTo(200_000), 10_000, { work, stop }),
        { message: `window ${failing}` },
        'not what stopping the others made them fail with',
      )
      t.equal(ended, begun, 'nothing is left under way')
      t.ok(begun <= failing + 2, `${begun} were begun`)
    }
    const source = async function* (): AsyncGenerator<SlotRows> {
      yield* slotsUpTo(30_000)
      throw new Error('a page is gone')
    }
    let ended = 0
    const stopping = new AbortController()
    const work = async () => {
      try {
        await sleep(60_000, null, { signal: stopping.signal })
      } finally {
        ended += 1
      }
    }
    const stop = () => stopping.abort()
    await t.rejects(eachWindow(source(), 10_000, { work, stop }), { message: 'a page is gone' })
    t.equal(ended, 1)
  },
)
