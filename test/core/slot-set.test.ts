import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { SlotSet } from '../../src/core/slot-set.js'
import { pictureOf } from '../support/picture.js'
import { randomInteger, seededRandom } from '../support/random.js'

const BLOCK = 65_536

t.test('runs that meet become one, and runs that are cut become two', async t => {
  const rows = [
    { add: [], del: [], picture: '........' },
    { add: [[0, 8]], del: [], picture: '########' },
    {
      add: [
        [1, 2],
        [3, 2],
      ],
      del: [],
      picture: '.####...',
    },
    {
      add: [
        [1, 2],
        [5, 1],
      ],
      del: [],
      picture: '.##..#..',
    },
    { add: [[0, 8]], del: [[3, 2]], picture: '###..###' },
    { add: [[2, 4]], del: [[0, 8]], picture: '........' },
    {
      add: [
        [2, 4],
        [2, 4],
      ],
      del: [[4, 9 - 5]],
      picture: '..##....',
    },
    { add: [[4, 0]], del: [[8, 0]], picture: '........' },
  ]
  for (const { add, del, picture } of rows) {
    const set = new SlotSet(8)
    for (const [first = 0, count = 0] of add) set.addRun({ first, count })
    for (const [first = 0, count = 0] of del) set.deleteRun({ first, count })
    t.equal(pictureOf(set.runs(), 8), picture)
    t.equal(set.size, picture.split('#').length - 1, `${picture}: size`)
    t.strictSame([...picture].map((_, slot) => (set.has(slot) ? '#' : '.')).join(''), picture)
  }
})

t.test('runs are maximal across blocks and words', async t => {
  const set = new SlotSet(3 * BLOCK + 5)
  set.addRun({ first: 31, count: 2 })
  set.addRun({ first: BLOCK - 1, count: BLOCK + 2 })
  set.addRun({ first: 3 * BLOCK, count: 5 })
  t.strictSame(
    [...set.runs()],
    [
      { first: 31, count: 2 },
      { first: BLOCK - 1, count: BLOCK + 2 },
      { first: 3 * BLOCK, count: 5 },
    ],
  )
  t.equal(set.size, 2 + BLOCK + 2 + 5)
  t.equal(set.nextAbsent(BLOCK), 2 * BLOCK + 1)
  t.equal(set.nextPresent(2 * BLOCK + 1), 3 * BLOCK)
  t.equal(set.nextAbsent(3 * BLOCK), set.slotCount, 'nothing is absent to the end')
  t.equal(set.nextPresent(33, BLOCK - 1), BLOCK - 1, 'a search ends where it is told to')
  t.equal(set.nextPresent(0, 10), 10)
  t.equal(set.nextAbsent(3 * BLOCK, 3 * BLOCK + 2), 3 * BLOCK + 2)
})

t.test('one full block is not another: deleting from one leaves the others full', async t => {
  const set = new SlotSet(3 * BLOCK)
  set.addRun({ first: 0, count: 3 * BLOCK })
  set.deleteRun({ first: BLOCK + 7, count: 1 })
  t.equal(set.size, 3 * BLOCK - 1)
  t.equal(set.nextAbsent(0), BLOCK + 7)
  t.equal(set.nextAbsent(BLOCK + 8), 3 * BLOCK)
  t.strictSame([set.has(7), set.has(BLOCK + 7), set.has(2 * BLOCK + 7)], [true, false, true])
  const other = new SlotSet(BLOCK)
  other.addRun({ first: 0, count: BLOCK })
  t.equal(other.nextAbsent(0), BLOCK, 'nor do two sets share what they delete')
})

t.test('blocks that are full or empty take no memory, however they became so', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // V8 frees buffers on a thread of its own, some time after the collection.
  const held = async () => {
    let least = Infinity
    for (let look = 0; look < 20; look += 1) {
      collect()
      await setTimeout(10)
      least = Math.min(least, process.memoryUsage().arrayBuffers)
    }
    return least
  }
  const set = new SlotSet(1024 * BLOCK)
  const before = await held()
  for (let first = 0; first < set.slotCount; first += BLOCK / 2)
    set.addRun({ first, count: BLOCK / 2 })
  t.equal(set.size, set.slotCount)
  t.ok((await held()) - before < 1024 * 1024, 'full')
  for (let first = 0; first < set.slotCount; first += BLOCK / 2)
    set.deleteRun({ first, count: BLOCK / 2 })
  t.equal(set.size, 0)
  t.ok((await held()) - before < 1024 * 1024, 'empty')
  set.addRun({ first: 0, count: 1 })
  set.addRun({ first: 0, count: set.slotCount })
  set.addRun({ first: 5, count: 9 })
  t.ok((await held()) - before < 1024 * 1024, 'full at once, and again')
})

t.test('a set of no slots, and slots beyond 2^32', async t => {
  const none = new SlotSet(0)
  t.strictSame([[...none.runs()], none.size, none.has(0), none.nextAbsent(0)], [[], 0, false, 0])
  const huge = new SlotSet(2 ** 33)
  huge.addRun({ first: 2 ** 32 + 3, count: 2 })
  t.strictSame([...huge.runs()], [{ first: 2 ** 32 + 3, count: 2 }])
  t.equal(huge.has(3), false)
  huge.addRun({ first: 0, count: 2 ** 33 })
  t.equal(huge.size, 2 ** 33)
})

t.test('runs outside the set are our bug', async t => {
  const set = new SlotSet(8)
  for (const run of [
    { first: -1, count: 1 },
    { first: 0, count: 9 },
    { first: 9, count: 0 },
    { first: 2, count: -1 },
  ]) {
    t.throws(() => set.addRun(run), { name: 'InvariantError' }, JSON.stringify(run))
    t.throws(() => set.deleteRun(run), { name: 'InvariantError' }, JSON.stringify(run))
  }
  t.throws(() => new SlotSet(-1), { name: 'InvariantError' })
  t.throws(() => new SlotSet(0.5), { name: 'InvariantError' })
})

t.test('change that is scattered thinly takes memory for its runs, not for the volume', async t => {
  const set = new SlotSet(2 ** 28)
  const before = process.memoryUsage().arrayBuffers
  for (let first = 5; first < set.slotCount; first += 2048) set.addRun({ first, count: 1 })
  t.equal(set.size, 2 ** 28 / 2048)
  t.ok(process.memoryUsage().arrayBuffers - before < 2 * 2 ** 20, 'a bit a slot would be 32 MiB')
})

const drawings = [
  { seed: 1, steps: 300, long: 0.3 },
  { seed: 2, steps: 300, long: 0.3 },
  { seed: 3, steps: 300, long: 0.3 },
  // Enough short runs that edges become bits.
  { seed: 4, steps: 6000, long: 0.001 },
  { seed: 5, steps: 12_000, long: 0 },
]
for (const { seed, steps, long } of drawings) {
  t.test(`agrees with an array of booleans, seed ${seed}`, async t => {
    const random = seededRandom(seed)
    const slots = 2 * BLOCK + randomInteger(random, { from: 0, to: 100 })
    const naive = new Uint8Array(slots)
    const set = new SlotSet(slots)
    for (let step = 0; step < steps; step += 1) {
      const first = randomInteger(random, { from: 0, to: slots })
      const reach = random() < long ? slots - first : Math.min(70, slots - first)
      const count = randomInteger(random, { from: 0, to: reach })
      const present = random() < 0.6
      naive.fill(present ? 1 : 0, first, first + count)
      if (present) set.addRun({ first, count })
      else set.deleteRun({ first, count })
      const from = randomInteger(random, { from: 0, to: slots })
      const next = { present: naive.indexOf(1, from), absent: naive.indexOf(0, from) }
      if (set.nextPresent(from) !== (next.present < 0 ? slots : next.present))
        t.fail(`step ${step}: present`)
      if (set.nextAbsent(from) !== (next.absent < 0 ? slots : next.absent))
        t.fail(`step ${step}: absent`)
      if (set.has(from === slots ? 0 : from) !== (naive[from === slots ? 0 : from] === 1))
        t.fail(`step ${step}: has`)
      if (step % 20 !== 0) continue
      const size = naive.reduce((sum, bit) => sum + bit, 0)
      if (set.size !== size) t.fail(`step ${step}: size ${set.size}, not ${size}`)
    }
    const drawn = new Uint8Array(slots)
    let lastEnd = -1
    for (const { first, count } of set.runs()) {
      if (first <= lastEnd || count <= 0) t.fail('runs are ascending and maximal')
      lastEnd = first + count
      drawn.fill(1, first, first + count)
    }
    t.ok(Buffer.compare(drawn, naive) === 0, 'the runs are the set')
  })
}
