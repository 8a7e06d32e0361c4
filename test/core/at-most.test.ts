import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { forEachAtMost } from '../../src/core/at-most.js'

t.test('every item is worked on once, in order, never more at a time than allowed', async t => {
  for (const limit of [1, 3, 100]) {
    const begun: number[] = []
    let [now, most] = [0, 0]
    await forEachAtMost(limit, Array(20).keys(), async item => {
      begun.push(item)
      most = Math.max(most, (now += 1))
      await delay(item % 3)
      now -= 1
    })
    t.strictSame(begun, [...Array(20).keys()])
    t.equal(most, Math.min(limit, 20))
  }
  await forEachAtMost(4, [], () => Promise.reject(new Error('never')))
})

t.test('a failure begins nothing more, and waits for what is under way', async t => {
  const ended: number[] = []
  const work = async (item: number) => {
    await delay(item === 1 ? 1 : 20)
    if (item === 1) throw new Error('one')
    ended.push(item)
  }
  await t.rejects(forEachAtMost(3, Array(9).keys(), work), { message: 'one' })
  t.strictSame(ended, [0, 2])
})
