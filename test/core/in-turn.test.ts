import t from 'tap'
import { inTurn } from '../../src/core/in-turn.js'
import { gather } from '../support/gather.js'

/** Yields a number as many times as it says, and tells what happens to it. */
async function* times(count: number, events: string[]): AsyncGenerator<number> {
  try {
    events.push(`begun ${count}`)
    for (let time = 0; time < count; time += 1) {
      await Promise.resolve()
      yield count
    }
  } finally {
    events.push(`ended ${count}`)
  }
}

t.test('all values come in the order of the items, however many are begun ahead', async t => {
  for (const ahead of [1, 2, 3, 100]) {
    const events: string[] = []
    const found = await gather(inTurn(ahead, [3, 0, 1, 2], count => times(count, events)))
    t.strictSame(found, [3, 3, 3, 1, 2, 2], `${ahead} ahead`)
    t.equal(events.length, 8)
  }
  t.strictSame(await gather(inTurn(4, [], () => times(1, []))), [])
})

t.test('as many as are asked for are begun before their turn, and no more', async t => {
  const events: string[] = []
  const values = inTurn(3, [5, 6, 7, 8], count => times(count, events))
  await values.next()
  t.strictSame(events, ['begun 5', 'begun 6', 'begun 7'])
  await values.return(undefined)
  t.strictSame(events.slice(3).sort(), ['ended 5', 'ended 6', 'ended 7'], 'all that were begun end')
})

t.test('a failure comes in its turn, and ends what was begun', async t => {
  const events: string[] = []
  const values = inTurn(9, [2, 13, 1], count => {
    if (count === 13) return failing()
    return times(count, events)
  })
  t.strictSame(await values.next(), { done: false, value: 2 })
  t.strictSame(await values.next(), { done: false, value: 2 })
  await t.rejects(values.next(), { message: 'no folder' })
  t.strictSame(events.filter(event => event.startsWith('ended')).sort(), ['ended 1', 'ended 2'])
})

async function* failing(): AsyncGenerator<number> {
  yield* []
  await Promise.reject(new Error('no folder'))
}
