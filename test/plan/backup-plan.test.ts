import t from 'tap'
import type { Geometry } from '../../src/core/chunk.js'
import type { StatedExtent } from '../../src/core/extent.js'
import type { BackupMode } from '../../src/core/manifest.js'
import { planBackup, type BackupPlan } from '../../src/plan/backup-plan.js'
import { stated } from '../support/extents.js'
import { pictureOf } from '../support/picture.js'
import { randomInteger, seededRandom } from '../support/random.js'

const LETTERS = { read: 'r', zero: 'z', carry: '.' } as const
const STATES = { d: 'data', z: 'zero', '.': 'clean', '?': 'unknown' } as const

/** 'r' is read, 'z' is zero, '.' is carried. */
function drawn(plan: BackupPlan, from = 0, until = plan.slotCount): string {
  const runs = [...plan.runs(from, until)].map(run => ({ ...run, letter: LETTERS[run.action] }))
  return pictureOf(runs, plan.slotCount).slice(from, until)
}

/** A map from a picture with a letter for every `unit` bytes: d data, z zero, . clean, ? unknown. */
function mapOf(
  picture: string,
  { volumeBytes, unit }: { volumeBytes: number; unit: number },
): StatedExtent[] {
  return [...picture].map((letter, at) => ({
    offset: at * unit,
    length: Math.min(unit, volumeBytes - at * unit),
    state: STATES[letter as keyof typeof STATES],
  }))
}

const geometry: Geometry = { volumeBytes: 30, chunkBytes: 4 }

t.test('full and rescan read everything but the holes of the source', async t => {
  const rows: { allocated: string | null; readHoles: boolean; plan: string }[] = [
    { allocated: null, readHoles: false, plan: 'rrrrrrrr' },
    { allocated: 'dddddddd', readHoles: false, plan: 'rrrrrrrr' },
    { allocated: 'zzzzzzzz', readHoles: false, plan: 'zzzzzzzz' },
    { allocated: 'zzzzzzzz', readHoles: true, plan: 'rrrrrrrr' },
    { allocated: 'zdzzdz?z', readHoles: false, plan: 'zrzzrzrz' },
    { allocated: 'zzzz.zzz', readHoles: false, plan: 'zzzzrzzz' },
  ]
  for (const mode of ['full', 'rescan'] as const) {
    for (const { allocated, readHoles, plan: picture } of rows) {
      const holes = allocated === null ? null : mapOf(allocated, { volumeBytes: 30, unit: 4 })
      const allocatedIn = () => holes
      const plan = await planBackup({
        geometry,
        mode,
        changes: null,
        allocated: allocatedIn,
        readHoles,
      })
      t.equal(drawn(plan), picture, `${mode} ${allocated}`)
      t.equal(plan.carriedSlots, 0)
      t.equal(plan.carriedBytes, 0)
    }
  }
})

t.test('an incremental reads what changed and carries what did not', async t => {
  const rows: { changes: string; allocated: string | null; plan: string; readHoles?: boolean }[] = [
    { changes: '........', allocated: null, plan: '........' },
    { changes: '.d..d...', allocated: null, plan: '.r..r...' },
    { changes: '.?..z..d', allocated: null, plan: '.r..r..r' },
    { changes: '.d..d...', allocated: 'dddddddd', plan: '.r..r...' },
    { changes: '.d..d...', allocated: 'zzzzzzzz', plan: '.z..z...' },
    { changes: '.d..d...', allocated: 'zzzzzzzz', plan: '.r..r...', readHoles: true },
    { changes: '.ddddd..', allocated: 'zddzzddd', plan: '.rrzzr..' },
    { changes: '........', allocated: 'zzzzzzzz', plan: '........' },
  ]
  for (const mode of ['incremental', 'differential'] as const) {
    for (const { changes, allocated, plan: picture, readHoles = false } of rows) {
      const plan = await planBackup({
        geometry,
        mode,
        changes: mapOf(changes, { volumeBytes: 30, unit: 4 }),
        allocated: () =>
          allocated === null ? null : mapOf(allocated, { volumeBytes: 30, unit: 4 }),
        readHoles,
      })
      t.equal(drawn(plan), picture, `${mode} ${changes} ${allocated}`)
    }
  }
})

t.test('zero in a change map is hearsay: only the source’s own holes make a slot zero', async t => {
  const changes = mapOf('zzzzzzzz', { volumeBytes: 30, unit: 4 })
  const allocated = mapOf('dddddddd', { volumeBytes: 30, unit: 4 })
  const plan = await planBackup({
    geometry,
    mode: 'incremental',
    changes,
    allocated: () => allocated,
    readHoles: false,
  })
  t.equal(drawn(plan), 'rrrrrrrr')
})

t.test('granules smaller and larger than a chunk, and unaligned ones, map outward', async t => {
  const rows = [
    { unit: 1, changes: '...d' + '....' + 'd...' + '.'.repeat(18), plan: 'r.r.....' },
    { unit: 2, changes: '.' + 'd' + '.'.repeat(13), plan: 'r.......' },
    { unit: 12, changes: '.d.', plan: '...rrr..' },
    { unit: 16, changes: '.d', plan: '....rrrr' },
    { unit: 6, changes: '.d...', plan: '.rr.....' },
    { unit: 5, changes: 'd.....', plan: 'rr......' },
    { unit: 30, changes: 'd', plan: 'rrrrrrrr' },
  ]
  for (const { unit, changes, plan: picture } of rows) {
    const map = mapOf(changes, { volumeBytes: 30, unit })
    const plan = await planBackup({
      geometry,
      mode: 'incremental',
      changes: map,
      allocated: () => null,
      readHoles: false,
    })
    t.equal(drawn(plan), picture, `granules of ${unit}`)
  }
})

t.test('holes map inward: a slot with one byte of data is read', async t => {
  const rows = [
    { allocated: ['zero 0+30'], plan: 'zzzzzzzz' },
    { allocated: ['zero 0+3', 'data 3+1', 'zero 4+26'], plan: 'rzzzzzzz' },
    { allocated: ['zero 0+7', 'data 7+2', 'zero 9+21'], plan: 'zrrzzzzz' },
    { allocated: ['data 0+1', 'zero 1+29'], plan: 'rzzzzzzz' },
    { allocated: ['zero 0+29', 'data 29+1'], plan: 'zzzzzzzr' },
    { allocated: ['zero 0+6', 'zero 6+6', 'data 12+4', 'zero 16+14'], plan: 'zzzrzzzz' },
  ]
  for (const { allocated, plan: picture } of rows) {
    const map = stated(...allocated)
    const plan = await planBackup({
      geometry,
      mode: 'full',
      changes: null,
      allocated: () => map,
      readHoles: false,
    })
    t.equal(drawn(plan), picture, allocated.join(', '))
  }
})

t.test('bytes by action add up to the volume, the short slot included', async t => {
  const plan = await planBackup({
    geometry,
    mode: 'incremental',
    changes: mapOf('dd....zd', { volumeBytes: 30, unit: 4 }),
    allocated: () => mapOf('dddddddz', { volumeBytes: 30, unit: 4 }),
    readHoles: false,
  })
  t.equal(drawn(plan), 'rr....rz')
  t.strictSame(
    [plan.readBytes, plan.zeroBytes, plan.carriedBytes, plan.volumeBytes, plan.slotCount],
    [12, 2, 16, 30, 8],
  )
  t.strictSame(
    [...plan.readRuns()],
    [
      { first: 0, count: 2 },
      { first: 6, count: 1 },
    ],
  )
  t.strictSame(
    [...plan.unreadRuns()],
    [
      { action: 'carry', first: 2, count: 4 },
      { action: 'zero', first: 7, count: 1 },
    ],
  )
  t.strictSame([...plan.unreadRuns(3, 5)], [{ action: 'carry', first: 3, count: 2 }])
  t.strictSame([...plan.unreadRuns(4, 4)], [])
  t.equal(drawn(plan, 1, 7), 'r....r')
})

t.test('a volume of no bytes, and one of 16 TiB in a moment', async t => {
  const none = await planBackup({
    geometry: { volumeBytes: 0, chunkBytes: 4 },
    mode: 'incremental',
    changes: [],
    allocated: () => [],
    readHoles: false,
  })
  t.strictSame([[...none.runs()], none.readBytes, none.zeroBytes, none.carriedBytes], [[], 0, 0, 0])

  const huge = { volumeBytes: 2 ** 44 - 512, chunkBytes: 65_536 }
  const changes = stated(
    'clean 0+17592186043904',
    'data 17592186043904+1',
    `clean 17592186043905+511`,
  )
  const plan = await planBackup({
    geometry: { ...huge, volumeBytes: 2 ** 44 },
    mode: 'incremental',
    changes,
    allocated: () => null,
    readHoles: false,
  })
  t.strictSame([...plan.readRuns()], [{ first: 2 ** 28 - 1, count: 1 }])
  const full = await planBackup({
    geometry: huge,
    mode: 'full',
    changes: null,
    allocated: () => null,
    readHoles: false,
  })
  t.equal(full.readBytes, huge.volumeBytes)
})

t.test('maps that do not cover the volume are refused', async t => {
  const question = { geometry, allocated: () => null, readHoles: false } as const
  for (const changes of [
    [],
    ['data 0+29'],
    ['data 0+31'],
    ['data 1+29'],
    ['data 0+20', 'data 10+20'],
  ]) {
    await t.rejects(
      planBackup({ ...question, mode: 'incremental', changes: stated(...changes) }),
      { code: 'CHANGES_MALFORMED' },
      changes.join(),
    )
  }
  await t.rejects(
    planBackup({
      ...question,
      mode: 'full',
      changes: null,
      allocated: () => stated('zero 0+10', 'zero 8+4'),
    }),
    { code: 'SOURCE_FAILED' },
  )
  await t.rejects(planBackup({ ...question, mode: 'incremental', changes: null }), {
    name: 'InvariantError',
  })
  await t.rejects(
    planBackup(
      { ...question, mode: 'incremental', changes: stated('data 0+30') },
      { signal: AbortSignal.abort() },
    ),
    { code: 'CANCELLED' },
  )
})

t.test('holes are asked for in what is read, and what is not told to be one is read', async t => {
  const question = { geometry, mode: 'incremental', readHoles: false } as const
  const asked: string[] = []
  const plan = await planBackup({
    ...question,
    changes: mapOf('.dd..ddd', { volumeBytes: 30, unit: 4 }),
    *allocated(within) {
      for (const { offset, length } of within) asked.push(`${offset}+${length}`)
      yield* stated('zero 4+6', 'zero 24+6')
    },
  })
  t.strictSame(asked, ['4+8', '20+10'])
  t.equal(drawn(plan), '.zr..rzz')
})

t.test('a map at hand is not looked at when the mode does not believe it', async t => {
  const lie = stated('clean 0+30')
  const plan = await planBackup({
    geometry,
    mode: 'rescan',
    changes: lie,
    allocated: () => null,
    readHoles: false,
  })
  t.equal(drawn(plan), 'rrrrrrrr')
})

for (const seed of [1, 2, 3]) {
  t.test(`agrees with a plan made byte by byte, seed ${seed}`, async t => {
    const random = seededRandom(seed)
    for (let round = 0; round < 300; round += 1) {
      const chunkBytes = 2 ** randomInteger(random, { from: 0, to: 4 })
      const volumeBytes = randomInteger(random, { from: 0, to: 300 })
      const changes = randomMap(random, volumeBytes, ['data', 'clean', 'clean', 'zero', 'unknown'])
      const allocated = randomMap(random, volumeBytes, ['data', 'zero', 'zero', 'unknown'])
      const mode: BackupMode = random() < 0.7 ? 'incremental' : 'rescan'
      const readHoles = random() < 0.2
      const plan = await planBackup({
        geometry: { volumeBytes, chunkBytes },
        mode,
        changes,
        allocated: () => (random() < 0.2 ? null : allocated),
        readHoles: true,
      })
      const withHoles = await planBackup({
        geometry: { volumeBytes, chunkBytes },
        mode,
        changes,
        allocated: () => allocated,
        readHoles,
      })
      const naive = { volumeBytes, chunkBytes, mode, changes }
      const expected = naivePlan({ ...naive, allocated: null })
      if (drawn(plan) !== expected) t.equal(drawn(plan), expected, `round ${round}, without holes`)
      const expectedHoles = naivePlan({ ...naive, allocated: readHoles ? null : allocated })
      if (drawn(withHoles) !== expectedHoles)
        t.equal(drawn(withHoles), expectedHoles, `round ${round}`)
    }
  })
}

interface NaivePlan extends Geometry {
  readonly mode: BackupMode
  readonly changes: readonly StatedExtent[]
  readonly allocated: readonly StatedExtent[] | null
}

function naivePlan({ volumeBytes, chunkBytes, mode, changes, allocated }: NaivePlan): string {
  const stateAt = (map: readonly StatedExtent[], byte: number) =>
    map.find(({ offset, length }) => byte >= offset && byte < offset + length)?.state
  let picture = ''
  for (let first = 0; first < volumeBytes; first += chunkBytes) {
    const bytes = Array.from(
      { length: Math.min(chunkBytes, volumeBytes - first) },
      (_, at) => first + at,
    )
    const isClean =
      mode === 'incremental' && bytes.every(byte => stateAt(changes, byte) === 'clean')
    const isHole = allocated !== null && bytes.every(byte => stateAt(allocated, byte) === 'zero')
    picture += isClean ? '.' : isHole ? 'z' : 'r'
  }
  return picture
}

function randomMap(
  random: () => number,
  volumeBytes: number,
  states: readonly StatedExtent['state'][],
): StatedExtent[] {
  const map: StatedExtent[] = []
  for (let offset = 0; offset < volumeBytes;) {
    const length = Math.min(randomInteger(random, { from: 1, to: 40 }), volumeBytes - offset)
    const state = states[randomInteger(random, { from: 0, to: states.length - 1 })] ?? 'data'
    map.push({ offset, length, state })
    offset += length
  }
  return map
}
