import t from 'tap'
import { sampleRanks } from '../../src/plan/sample.js'
import { randomInteger, seededRandom } from '../support/random.js'

t.test('different ranks, ascending, as many as asked for, seed 1', async t => {
  const random = seededRandom(1)
  for (let round = 0; round < 500; round += 1) {
    const population = randomInteger(random, { from: 0, to: 300 })
    const count = randomInteger(random, { from: 0, to: population })
    const ranks = [...sampleRanks({ population, count, random })]
    t.equal(ranks.length, count)
    const isAscending = ranks.every((rank, at) => rank > (ranks[at - 1] ?? -1) && rank < population)
    if (!isAscending || !ranks.every(Number.isInteger)) t.fail(`round ${round}: ${ranks.join()}`)
  }
  t.strictSame([...sampleRanks({ population: 5, count: 5, random })], [0, 1, 2, 3, 4])
  t.throws(() => [...sampleRanks({ population: 4, count: 5, random })], { name: 'InvariantError' })
})

t.test('every pair is as likely as any other, seed 2', async t => {
  const random = seededRandom(2)
  const seen = new Map<string, number>()
  for (let round = 0; round < 15_000; round += 1) {
    const pair = [...sampleRanks({ population: 6, count: 2, random })].join()
    seen.set(pair, (seen.get(pair) ?? 0) + 1)
  }
  t.equal(seen.size, 15)
  // 1,000 are expected of each; six standard deviations are 183.
  for (const [pair, count] of seen) t.ok(Math.abs(count - 1000) < 190, `${pair}: ${count}`)
})

t.test('a sample too large to hold is drawn in passing, and as evenly, seed 3', async t => {
  const random = seededRandom(3)
  const population = 1_000_000
  const count = 100_000
  const tenths = new Array<number>(10).fill(0)
  let last = -1
  let drawn = 0
  for (const rank of sampleRanks({ population, count, random })) {
    if (rank <= last || rank >= population) t.fail(`${rank} after ${last}`)
    last = rank
    drawn += 1
    const tenth = Math.floor(rank / 100_000)
    tenths[tenth] = (tenths[tenth] ?? 0) + 1
  }
  t.equal(drawn, count)
  for (const tenth of tenths) t.ok(Math.abs(tenth - 10_000) < 600, String(tenth))
  t.equal([...sampleRanks({ population: 70_000, count: 70_000, random })].length, 70_000)
})

t.test('extreme random numbers stay within the population', async t => {
  for (const random of [() => 0, () => 1 - 2 ** -53]) {
    t.equal(new Set(sampleRanks({ population: 2 ** 39, count: 100, random })).size, 100)
    t.ok(
      [...sampleRanks({ population: 100, count: 99, random })].every(
        rank => rank >= 0 && rank < 100,
      ),
    )
  }
})

t.test('a small sample of a huge population costs its own size', async t => {
  let calls = 0
  const counting = () => {
    calls += 1
    return (calls * 0.618_033_988_75) % 1
  }
  t.equal([...sampleRanks({ population: 2 ** 39, count: 256, random: counting })].length, 256)
  t.ok(calls <= 256, `${calls} calls`)
})
