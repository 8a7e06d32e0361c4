import t from 'tap'
import { SlotSet } from '../../src/core/slot-set.js'
import { auditCount, auditSample, auditWindows } from '../../src/plan/audit-plan.js'
import { BackupPlan } from '../../src/plan/backup-plan.js'
import { missBounds, missChance } from '../support/chance.js'
import { randomInteger, seededRandom } from '../support/random.js'

/** A plan from a picture: 'r' is read, 'z' is zero, '.' is carried. */
function planOf(picture: string): BackupPlan {
  const readSlots = new SlotSet(picture.length)
  const zeroSlots = new SlotSet(picture.length)
  ;[...picture].forEach((letter, first) => {
    if (letter === 'r') readSlots.addRun({ first, count: 1 })
    if (letter === 'z') zeroSlots.addRun({ first, count: 1 })
  })
  const geometry = { volumeBytes: picture.length * 4, chunkBytes: 4 }
  return new BackupPlan({ geometry, mode: 'incremental', readSlots, zeroSlots })
}

t.test(
  'the default is 256 and 5 % of what is read, at most 16,384 and all that is clean',
  async t => {
    const rows = [
      { clean: 1e6, read: 0, slots: 256 },
      { clean: 1e6, read: 1, slots: 257 },
      { clean: 1e6, read: 20, slots: 257 },
      { clean: 1e6, read: 21, slots: 258 },
      { clean: 1e6, read: 1000, slots: 306 },
      { clean: 1e6, read: 322_560, slots: 16_384 },
      { clean: 1e6, read: 1e9, slots: 16_384 },
      { clean: 100, read: 1000, slots: 100 },
      { clean: 0, read: 1000, slots: 0 },
    ]
    for (const { slots, ...question } of rows) {
      t.equal(
        auditCount({ ...question, policy: 'default' }),
        slots,
        `${question.clean}, ${question.read}`,
      )
    }
  },
)

t.test(
  'a percentage is of what is clean: at least one slot, and never none by rounding',
  async t => {
    const rows = [
      { clean: 1000, policy: 100, slots: 1000 },
      { clean: 1000, policy: 10, slots: 100 },
      { clean: 1001, policy: 10, slots: 101 },
      { clean: 1000, policy: 0.001, slots: 1 },
      { clean: 3, policy: 1, slots: 1 },
      { clean: 0, policy: 100, slots: 0 },
      { clean: 2 ** 28, policy: 50, slots: 2 ** 27 },
    ]
    for (const { slots, ...question } of rows) {
      t.equal(
        auditCount({ ...question, read: 7 }),
        slots,
        `${question.policy} % of ${question.clean}`,
      )
    }
    t.equal(auditCount({ clean: 1000, read: 1000, policy: 'off' }), 0)
  },
)

t.test('only carried slots are audited, and all of them when they are few', async t => {
  const rows = ['', '....', 'rrrr', 'zzzz', '.r.z..r', 'r......z', 'zrzrz.', '.zr']
  for (const picture of rows) {
    const clean = [...picture].flatMap((letter, slot) => (letter === '.' ? [slot] : []))
    const question = { plan: planOf(picture), random: seededRandom(1) }
    t.strictSame([...auditWindows({ ...question, policy: 'default' })].flat(), clean, picture)
    t.strictSame([...auditWindows({ ...question, policy: 100 })].flat(), clean, picture)
    t.strictSame([...auditWindows({ ...question, policy: 'off' })].flat(), [], picture)
  }
})

t.test('every carried slot has the same chance, wherever it lies, seed 4', async t => {
  const random = seededRandom(4)
  const plan = planOf('.r..zz....r.')
  const hits = new Array<number>(12).fill(0)
  for (let round = 0; round < 8000; round += 1) {
    const slots = [...auditWindows({ plan, policy: 25, random })].flat()
    t.equal(slots.length, 2)
    for (const slot of slots) hits[slot] = (hits[slot] ?? 0) + 1
  }
  // 2,000 are expected of each of the 8; six standard deviations are 232.
  const clean = [0, 2, 3, 6, 7, 8, 9, 11]
  hits.forEach((count, slot) => {
    if (clean.includes(slot)) t.ok(Math.abs(count - 2000) < 240, `slot ${slot}: ${count}`)
    else t.equal(count, 0, `slot ${slot} is not carried`)
  })
})

/** 100,000 clean slots between others that are read, and a lie about some of them. */
function lyingPlan({ lies, read }: { readonly lies: number; readonly read: number }) {
  const random = seededRandom(lies + read)
  const slots = 100_000 + read
  const readSlots = new SlotSet(slots)
  while (readSlots.size < read) {
    readSlots.addRun({ first: randomInteger(random, { from: 0, to: slots - 1 }), count: 1 })
  }
  const lied = new Set<number>()
  while (lied.size < lies) {
    const slot = randomInteger(random, { from: 0, to: slots - 1 })
    if (!readSlots.has(slot)) lied.add(slot)
  }
  const geometry = { volumeBytes: slots * 4, chunkBytes: 4 }
  const zeroSlots = new SlotSet(slots)
  return { lied, plan: new BackupPlan({ geometry, mode: 'incremental', readSlots, zeroSlots }) }
}

t.test('a lie is seen as often as arithmetic promises', async t => {
  const trials = 1500
  let seed = 5
  for (const lies of [100, 1000, 10_000]) {
    for (const { read, sampled } of [
      { read: 0, sampled: 256 },
      { read: 10_000, sampled: 756 },
    ]) {
      seed += 1
      t.test(`${lies / 1000} % of the slots, ${sampled} audited, seed ${seed}`, async t => {
        const { lied, plan } = lyingPlan({ lies, read })
        const random = seededRandom(seed)
        let missed = 0
        for (let trial = 0; trial < trials; trial += 1) {
          const slots = [...auditWindows({ plan, policy: 'default', random })].flat()
          if (slots.length !== sampled) t.fail(`${slots.length} were audited`)
          if (!slots.some(slot => lied.has(slot))) missed += 1
        }
        const miss = missChance({ population: 100_000, lies, sampled })
        t.ok(miss <= (1 - lies / 100_000) ** sampled, 'none twice: better than with replacement')
        // A fair generator fails here once in 5,000,000 seeds, and this seed is always the same.
        const { least, most } = missBounds({ trials, miss, doubt: 1e-7 })
        const words = `${missed} of ${trials} missed, ${(trials * miss).toFixed(1)} expected`
        t.ok(missed >= least && missed <= most, `${words}, ${least} to ${most} allowed`)
      })
    }
  }
})

t.test('windows are bounded and go on where the last one ended, seed 6', async t => {
  const slots = 200_000
  const plan = new BackupPlan({
    geometry: { volumeBytes: slots * 4, chunkBytes: 4 },
    mode: 'incremental',
    readSlots: new SlotSet(slots),
    zeroSlots: new SlotSet(slots),
  })
  plan.readSlots.addRun({ first: 1000, count: 5000 })
  let last = -1
  let total = 0
  for (const window of auditWindows({ plan, policy: 60, random: seededRandom(6) })) {
    if (window.length > 16_384 || window.length === 0) t.fail(`a window of ${window.length}`)
    for (const slot of window) {
      if (slot <= last || plan.readSlots.has(slot)) t.fail(`slot ${slot} after ${last}`)
      last = slot
    }
    total += window.length
  }
  t.equal(total, 195_000 * 0.6)
})

t.test('slots that are in no set of what is excluded are sampled in the same way', async t => {
  const excluded = new SlotSet(10)
  excluded.addRun({ first: 0, count: 2 })
  excluded.addRun({ first: 5, count: 1 })
  const question = { excluded, random: seededRandom(1) }
  t.strictSame(auditSample({ ...question, policy: 'default' }), [2, 3, 4, 6, 7, 8, 9])
  t.equal(auditSample({ ...question, policy: 30 }).length, 3)
  excluded.addRun({ first: 0, count: 10 })
  t.strictSame(auditSample({ ...question, policy: 'default' }), [])
})
