/**
 * Promise 2. Changed-block answers are not trusted: what is malformed is refused, what cannot be
 * believed costs a rescan, and what is believed is audited. Over-reporting is legal.
 */
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { backup, type BackupOptions } from '../../src/backup.js'
import { MoverError } from '../../src/core/errors.js'
import { recordDoubt } from '../../src/manifest/doubts.js'
import type { MoverEvent } from '../../src/core/progress.js'
import type { AuditPolicy } from '../../src/plan/audit-plan.js'
import type { Repository } from '../../src/repository.js'
import { bitmapChanges, extentChanges, type ChangeSource } from '../../src/source/change-source.js'
import { openSource } from '../../src/source/open-source.js'
import type { Source } from '../../src/source/source.js'
import { changesFromFile } from '../../src/source/changes-file.js'
import { missBounds, missChance } from '../support/chance.js'
import { forgetDoubts } from '../support/doubts.js'
import { failingDisk } from '../support/failing-disk.js'
import { gather } from '../support/gather.js'
import { bitmapOf } from '../support/picture.js'
import { randomInteger, seededRandom } from '../support/random.js'
import { backedUp, idOf, inventory, makeRepository, objectsOf } from '../support/repository.js'
import { runMover, runMoverJson } from '../support/run-mover.js'
import {
  bitmapOfWrites,
  changeVolume,
  KiB,
  makeVolume,
  MiB,
  punchHole,
  resizeVolume,
  write,
} from '../support/volumes.js'

const CHUNK_BYTES = 16 * KiB
const GRANULARITY_BYTES = 16 * KiB

/** A mode that reads what a map names: which of the two depends on what lies between it and its parent. */
const BY_MAP = /^(incremental|differential)$/

interface Scene {
  readonly dir: string
  readonly source: string
  readonly repository: Repository
  /** Id of the first backup, which stands for the checkpoint `ck-1`. */
  readonly parent: string
}

interface SceneOptions {
  readonly bytes?: number
  readonly seed?: number
  /** Writes to the volume before its backup. */
  readonly prepare?: (source: string) => Promise<void>
}

/** A volume with one full backup. */
async function makeScene(
  t: Test,
  { bytes = MiB, seed = 1, prepare }: SceneOptions = {},
): Promise<Scene> {
  const dir = t.testdir({})
  const source = join(dir, 'volume')
  await makeVolume(source, { bytes, seed })
  await prepare?.(source)
  const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: CHUNK_BYTES })
  const parent = idOf(await backedUp({ source, repository, volume: 'v', checkpoint: 'ck-1' }))
  return { dir, source, repository, parent }
}

/** A map that calls every byte clean, in a bitmap of a volume of this size. */
function allClean(volumeBytes: number, since: string | null = 'ck-1'): ChangeSource {
  const granules = Math.ceil(volumeBytes / GRANULARITY_BYTES)
  return bitmapChanges({
    bits: new Uint8Array(Math.ceil(granules / 8)),
    granularityBytes: GRANULARITY_BYTES,
    since,
  })
}

/** The root of a full backup of the same bytes in a repository that knows nothing else. */
async function freshRoot(t: Test, { dir, source }: Scene): Promise<string | null> {
  const repository = await makeRepository(t, join(dir, 'fresh'), {
    chunkBytes: CHUNK_BYTES,
  })
  return (await backedUp({ source, repository, volume: 'v' })).root
}

/** Runs a backup that must fail and leave the repository as it was; answers the error. */
async function refused(t: Test, options: BackupOptions): Promise<MoverError> {
  const { path } = options.repository
  const inventoryOfRest = () =>
    Object.entries(inventory(path)).filter(([name]) => !name.startsWith('doubts/'))
  const before = inventoryOfRest()
  const error: unknown = await backedUp(options).catch((error: unknown) => error)
  t.strictSame(inventoryOfRest(), before, 'the repository is as it was')
  if (error instanceof MoverError) {
    const isCaught = error.code === 'AUDIT_MISMATCH'
    t.equal(objectsOf(path, 'doubts').length, isCaught ? 1 : 0, 'but for a doubt')
    return error
  }
  throw new Error(`not refused: ${String(error)}`)
}

t.test('a volume of another size is read in full, whatever its tracker says', async t => {
  const sizes = [
    { name: 'grown by a sector', bytes: MiB + 512 },
    { name: 'grown by a chunk', bytes: MiB + CHUNK_BYTES },
    { name: 'grown to the double', bytes: 2 * MiB },
    { name: 'shrunk by a byte', bytes: MiB - 1 },
    { name: 'shrunk to the half', bytes: MiB / 2 },
    { name: 'shrunk to nothing', bytes: 0 },
  ]
  for (const { name, bytes } of sizes) {
    t.test(name, async t => {
      const scene = await makeScene(t)
      const { source, repository, parent } = scene
      await write(source, { offset: 100_000, length: 5000 }, { content: 'noise', seed: 2 })
      await resizeVolume(source, bytes)
      if (bytes > MiB) {
        await write(source, { offset: MiB, length: 512 }, { content: 'noise', seed: 3 })
      }
      const root = await freshRoot(t, scene)
      // Both trackers lie: nothing is dirty, in a bitmap of the new size or of the old one.
      for (const changes of [allClean(bytes), allClean(MiB), allClean(MiB, null)]) {
        await using job = backup({
          source,
          repository,
          volume: 'v',
          changes,
          readHoles: true,
          ...(changes.since === null ? { parent } : {}),
        })
        const events = await gather(job.events)
        const result = await job.result
        const said = { mode: 'rescan', requested: BY_MAP, reason: 'resized', parent }
        t.match(result, { ...said, bytes: { volume: bytes, read: bytes, carried: 0 } })
        t.equal(result.root, root, "its root is a fresh full backup's")
        t.match(await repository.resolve(idOf(result)), { ...said, volumeBytes: bytes })
        t.match(
          events.find(({ type }) => type === 'fallback'),
          { requested: BY_MAP, mode: 'rescan', reason: 'resized' },
        )
      }
    })
  }
})

t.test('a map that is malformed, or fits no size of the volume, is refused', async t => {
  const scene = await makeScene(t)
  const { dir, source, repository, parent } = scene
  const bitmap = (bytes: number) => Buffer.alloc(bytes)
  const line = (offset: number, length: number) => `{"offset":${offset},"length":${length}`
  const end = (extents: number) => `{"end":true,"extents":${extents}}\n`
  const dirty = `${line(0, 4096)},"state":"data"}\n`
  const rows: { name: string; spec?: string; text: string | Buffer }[] = [
    // A bitmap of this volume in this granularity takes 8 bytes.
    { name: 'a bitmap that is short by one byte', spec: 'bitmap', text: bitmap(7) },
    { name: 'a bitmap that is long by one byte', spec: 'bitmap', text: bitmap(9) },
    { name: 'an empty bitmap', spec: 'bitmap', text: '' },
    { name: 'a bitmap of another granularity', spec: 'bitmap', text: bitmap(32) },
    { name: 'an empty file', text: '' },
    { name: 'white space', text: ' \n\n' },
    { name: 'garbage', text: Buffer.from([0, 255, 17, 0, 128, 10, 3]) },
    { name: 'lines without their end', text: dirty },
    { name: 'lines cut in the middle', text: (dirty + dirty).slice(0, -9) },
    { name: 'an end that counts more lines', text: dirty + end(2) },
    { name: 'lines after the end', text: dirty + end(1) + dirty },
    { name: 'extents that overlap', text: `${dirty}${line(512, 512)},"state":"data"}\n${end(2)}` },
    { name: 'an extent beyond the volume', text: `${line(MiB, 1)},"state":"data"}\n${end(1)}` },
    { name: 'an extent before it', text: `${line(-512, 512)},"state":"data"}\n${end(1)}` },
    {
      name: 'an extent of a state that nobody knows',
      text: `${line(0, 1)},"state":"x"}\n${end(1)}`,
    },
    { name: 'a half array', text: `[${line(0, MiB)},"type":1,"description":"dirty"}` },
    { name: 'a map that does not cover the volume', text: `[${line(0, 512)},"type":1}]` },
    {
      name: 'a map of what is allocated',
      text: `[${line(0, 512)},"type":0,"description":"data"},${line(512, MiB - 512)},"type":3,"description":"hole,zero"}]`,
    },
    { name: 'an object', text: '{}' },
    { name: 'null', text: 'null' },
  ]
  for (const { name, spec, text } of rows) {
    t.test(name, async t => {
      const file = join(dir, 'changes')
      writeFileSync(file, text)
      const named = spec === 'bitmap' ? `bitmap:${file},granularity=16KiB` : `extents:${file}`
      const changes = await changesFromFile(named)
      const error = await refused(t, { source, repository, volume: 'v', changes, parent })
      t.equal(error.code, 'CHANGES_MALFORMED')
      t.ok(error.remedy, error.message)
    })
  }
  t.test('by the binary, with exit code 3', async t => {
    const file = join(dir, 'changes')
    writeFileSync(file, bitmap(9))
    const changes = ['--changes', `bitmap:${file},granularity=16KiB`, '--parent', parent]
    const before = inventory(repository.path)
    const { code, error } = await runMoverJson(['backup', source, '--volume', 'v', ...changes], {
      repository: repository.path,
    })
    t.equal(code, 3)
    t.match(error, { code: 'CHANGES_MALFORMED', stage: 'plan' })
    t.strictSame(inventory(repository.path), before)
  })
})

t.test('an answer that breaks off, or has gaps, is an error and never "clean"', async t => {
  const { source, repository, parent } = await makeScene(t)
  const answer = (extents: AsyncIterable<never> | readonly object[]): ChangeSource => ({
    name: 'a tracker',
    since: null,
    changed: async () => ({
      health: { kind: 'exact' },
      granularityBytes: 1,
      extents: extents as AsyncIterable<never>,
    }),
  })
  const lost = new MoverError('CHANGES_FAILED', 'the connection was reset')
  async function* breaksOff(): AsyncGenerator<never> {
    yield { offset: 0, length: MiB / 2, state: 'clean' } as never
    throw lost
  }
  const clean = (offset: number, length: number) => ({ offset, length, state: 'clean' })
  const rows: { name: string; changes: ChangeSource; code: string }[] = [
    { name: 'it breaks off', changes: answer(breaksOff()), code: 'CHANGES_FAILED' },
    {
      name: 'it cannot be had',
      changes: { ...answer([]), changed: () => Promise.reject(lost) },
      code: 'CHANGES_FAILED',
    },
    { name: 'it is empty', changes: answer([]), code: 'CHANGES_MALFORMED' },
    { name: 'it ends early', changes: answer([clean(0, MiB - 512)]), code: 'CHANGES_MALFORMED' },
    {
      name: 'it has a hole',
      changes: answer([clean(0, 512), clean(1024, MiB - 1024)]),
      code: 'CHANGES_MALFORMED',
    },
    {
      name: 'it goes back',
      changes: answer([clean(0, MiB / 2), clean(MiB / 4, (3 * MiB) / 4)]),
      code: 'CHANGES_MALFORMED',
    },
    { name: 'it is too long', changes: answer([clean(0, MiB + 512)]), code: 'CHANGES_MALFORMED' },
  ]
  for (const { name, changes, code } of rows) {
    t.test(name, async t => {
      const error = await refused(t, { source, repository, volume: 'v', changes, parent })
      t.equal(error.code, code)
    })
  }
})

t.test('nothing changed is an answer, and no answer is not "nothing changed"', async t => {
  const { dir, source, repository, parent } = await makeScene(t)
  writeFileSync(join(dir, 'nothing'), '[]')
  const nothing = await changesFromFile(`extents:${join(dir, 'nothing')}`)
  for (const changes of [nothing, extentChanges({ extents: [] }), allClean(MiB, null)]) {
    const result = await backedUp({ source, repository, volume: 'v', changes, parent })
    t.match(result, { mode: BY_MAP, reason: null, bytes: { read: 0, carried: MiB } })
    t.equal(result.audit.slots, MiB / CHUNK_BYTES, 'all that was called clean, since it is little')
    t.equal(result.root, (await repository.resolve(parent)).root)
  }
  for (const none of [{ changes: null }, {}]) {
    const result = await backedUp({ source, repository, volume: 'v', ...none })
    t.match(result, { mode: 'rescan', requested: 'rescan', bytes: { carried: 0 } })
  }
})

t.test('a map is believed only on top of what it counts from', async t => {
  const scene = await makeScene(t)
  const { dir, source, repository, parent: first } = scene
  await write(source, { offset: 0, length: 40_000 }, { content: 'noise', seed: 5 })
  const second = idOf(await backedUp({ source, repository, volume: 'v', checkpoint: 'ck-2' }))
  const third = idOf(await backedUp({ source, repository, volume: 'v' }))
  await backedUp({ source, repository, volume: 'other', checkpoint: 'ck-other' })
  await write(source, { offset: 500_000, length: 40_000 }, { content: 'noise', seed: 6 })
  const root = await freshRoot(t, scene)

  // Every bit of 16 KiB that differs from the first backup; from the second only the later ones.
  const sinceFirst = bitmapOf(`###${'.'.repeat(27)}####${'.'.repeat(30)}`)
  const sinceSecond = bitmapOf(`${'.'.repeat(30)}####${'.'.repeat(30)}`)
  const nothing = new Uint8Array(8)
  const believed = { mode: BY_MAP, requested: BY_MAP, reason: null }
  const doubted = { mode: 'rescan', requested: BY_MAP, reason: 'lineage' }
  const rows = [
    { since: 'ck-2', bits: sinceSecond, expected: { ...believed, parent: second } },
    { since: 'ck-1', bits: sinceFirst, expected: { ...believed, parent: first } },
    {
      since: 'ck-1',
      bits: sinceFirst,
      parent: 'full',
      expected: { mode: 'differential', requested: 'differential', reason: null, parent: first },
    },
    { since: null, bits: sinceSecond, parent: second, expected: { ...believed, parent: second } },
    {
      since: null,
      bits: sinceSecond,
      parent: second.slice(0, 16),
      expected: { ...believed, parent: second },
    },
    // From here on the map lies: nothing is dirty. It may not be believed.
    { since: 'ck-9', bits: nothing, expected: doubted },
    { since: 'ck-other', bits: nothing, expected: doubted },
    { since: 'ck-1', bits: nothing, parent: 'latest', expected: doubted },
    { since: 'ck-1', bits: nothing, parent: second, expected: { ...doubted, parent: second } },
    { since: 'ck-2', bits: nothing, parent: third, expected: { ...doubted, parent: third } },
  ]
  for (const { since, bits, parent, expected } of rows) {
    t.test(`since ${since} on ${parent?.slice(0, 8) ?? 'what it finds'}`, async t => {
      const changes = bitmapChanges({ bits, granularityBytes: GRANULARITY_BYTES, since })
      const result = await backedUp({
        source,
        repository,
        volume: 'v',
        changes,
        ...(parent === undefined ? {} : { parent }),
      })
      t.match(result, expected)
      t.equal(result.root, root)
    })
  }

  const unpinned = ['latest', 'full', 'v@latest', 'v@latest~1', 'v@full', null]
  for (const parent of unpinned) {
    t.test(`no since, on ${parent ?? 'nothing'}: another run may commit in between`, async t => {
      const changes = bitmapChanges({ bits: nothing, granularityBytes: GRANULARITY_BYTES })
      const error = await refused(t, { source, repository, volume: 'v', changes, parent })
      t.equal(error.code, 'CHANGES_UNPINNED')
    })
  }
  t.test('rbd tells no checkpoint: it has to be named', async t => {
    const file = join(dir, 'rbd')
    writeFileSync(file, '[{"offset":0,"length":4096,"exists":"true"}]')
    const changes = await changesFromFile(`extents:${file}`)
    const error = await refused(t, { source, repository, volume: 'v', changes, parent: third })
    t.equal(error.code, 'CHANGES_UNPINNED')
  })
})

t.test('lost tracking costs this volume a rescan, says why, and stops nothing', async t => {
  const scene = await makeScene(t)
  const { source, repository, parent } = scene
  await write(source, { offset: 70_000, length: 9000 }, { content: 'noise', seed: 7 })
  const changes: ChangeSource = {
    name: 'a tracker',
    since: 'ck-1',
    changed: async () => ({
      health: { kind: 'lost', reason: 'the bitmap is inconsistent' },
      granularityBytes: 1,
      extents: [{ offset: 0, length: MiB, state: 'clean' }],
    }),
  }
  const events: MoverEvent[] = []
  await using job = backup({ source, repository, volume: 'v', changes, checkpoint: 'ck-2' })
  for await (const event of job.events) events.push(event)
  const said = { mode: 'rescan', requested: 'incremental', reason: 'the bitmap is inconsistent' }
  const result = await job.result
  t.match(result, { ...said, parent, bytes: { carried: 0 } })
  t.equal(result.root, await freshRoot(t, scene))
  t.match(await repository.resolve(idOf(result)), { ...said, fullyRead: null })
  t.ok(events.some(event => event.type === 'fallback' && event.reason === said.reason))

  const next = await backedUp({ source, repository, volume: 'v', changes: allClean(MiB, 'ck-2') })
  t.match(next, { mode: 'incremental', parent: result.manifest, reason: null })
})

t.test('a map may name more than what changed', async t => {
  const scene = await makeScene(t)
  const { source, repository, parent } = scene
  const writes = await changeVolume(source, { seed: 8, writes: 4 })
  const root = await freshRoot(t, scene)
  const geometry = { granularityBytes: GRANULARITY_BYTES, volumeBytes: MiB }
  const exact = bitmapOfWrites(writes, geometry)
  const more = bitmapOfWrites([...writes, { offset: 0, length: MiB / 2 }], geometry)
  const all = new Uint8Array(8).fill(255)
  let stored = -1
  for (const bits of [exact, more, all]) {
    const changes = bitmapChanges({ bits, granularityBytes: GRANULARITY_BYTES })
    const result = await backedUp({ source, repository, volume: 'v', changes, parent })
    t.match(result.mode, BY_MAP)
    t.equal(result.root, root)
    if (stored >= 0) t.equal(result.bytes.stored, 0, 'what did not change is known')
    stored = result.bytes.stored
  }
})

t.test('a lie of any kind is found, and nothing is committed', async t => {
  // 64 slots and a short one, all of them audited; slot 20 is known to be data, slot 40 to be zero.
  const bytes = MiB + 700
  const at = (slot: number, length: number) => ({ offset: slot * CHUNK_BYTES, length })
  const rows: { name: string; slot: number; lie: (source: string) => Promise<unknown> }[] = [
    {
      name: 'other data',
      slot: 20,
      lie: source => write(source, at(20, 512), { content: 'noise', seed: 4 }),
    },
    {
      name: 'data that became zero',
      slot: 20,
      lie: source => write(source, at(20, CHUNK_BYTES), { content: 'zero', seed: 0 }),
    },
    {
      name: 'data that became a hole',
      slot: 20,
      lie: source => punchHole(source, at(20, CHUNK_BYTES)),
    },
    {
      name: 'zero that became data',
      slot: 40,
      lie: source => write(source, at(40, 1), { content: 'text', seed: 0 }),
    },
    {
      name: 'the last byte of a short chunk',
      slot: 64,
      lie: source => write(source, { offset: bytes - 1, length: 1 }, { content: 'text', seed: 9 }),
    },
  ]
  for (const { name, slot, lie } of rows) {
    t.test(name, async t => {
      const { dir, source, repository } = await makeScene(t, {
        bytes,
        seed: 12,
        prepare: async source => {
          await write(source, at(20, CHUNK_BYTES), { content: 'text', seed: 1 })
          await write(source, at(40, CHUNK_BYTES), { content: 'zero', seed: 0 })
          await write(source, at(64, 700), { content: 'zero', seed: 0 })
        },
      })
      await lie(source)
      const changes = allClean(bytes)
      const error = await refused(t, { source, repository, volume: 'v', changes })
      t.match(error, { code: 'AUDIT_MISMATCH', stage: 'audit', offset: slot * CHUNK_BYTES })
      t.match(error.details, { slots: [slot], slotsInAll: 1, suspects: [] })
      t.match(error.remedy, /^back up again: .* all of the volume is read/)

      const again = await backedUp({ source, repository, volume: 'v', changes })
      t.match(again, { mode: 'rescan', reason: 'tracker-lied', bytes: { carried: 0 } })
      const fresh = await makeRepository(t, join(dir, 'fresh'), { chunkBytes: CHUNK_BYTES })
      const { root } = await backedUp({ source, repository: fresh, volume: 'v' })
      t.equal(again.root, root, 'the same tracking is not believed a second time')
    })
  }
  t.test('by the binary, with exit code 7', async t => {
    const { dir, source, repository, parent } = await makeScene(t)
    await write(source, at(3, 512), { content: 'noise', seed: 4 })
    writeFileSync(join(dir, 'bitmap'), Buffer.alloc(8))
    const changes = `bitmap:${join(dir, 'bitmap')},granularity=16KiB`
    const args = ['backup', source, '--volume', 'v', '--changes', changes, '--parent', parent]
    const before = inventory(repository.path)
    const { code, error } = await runMoverJson(args, { repository: repository.path })
    t.equal(code, 7)
    t.match(error, { code: 'AUDIT_MISMATCH', stage: 'audit', details: { slots: [3] } })
    t.strictSame(objectsOf(repository.path, 'doubts'), [parent])
    forgetDoubts(repository.path)
    t.strictSame(inventory(repository.path), before, 'the doubt is all that was written')
  })
})

t.test('a tracker that lied is believed again when all was read anew', async t => {
  const { dir, source, repository, parent: full } = await makeScene(t)
  const options = { source, repository, volume: 'v' }
  const missed = await backedUp({ ...options, changes: allClean(MiB), checkpoint: 'ck-2' })
  await write(source, { offset: 0, length: 512 }, { content: 'noise', seed: 92 })
  const since = (checkpoint: string) => ({ ...options, changes: allClean(MiB, checkpoint) })
  t.equal((await refused(t, since('ck-2'))).code, 'AUDIT_MISMATCH')
  const doubted = { mode: 'rescan', requested: BY_MAP, reason: 'tracker-lied' }
  t.match(await backedUp({ ...since('ck-2'), dryRun: true }), doubted)
  // Whatever counts from what was tracked since the full one: its own checkpoint too.
  const beside = await backedUp({ ...since('ck-1'), checkpoint: 'ck-3' })
  t.match(beside, { ...doubted, requested: 'differential', parent: full })
  t.match(await backedUp(since('ck-2')), { ...doubted, parent: missed.manifest })
  const carried = await backedUp({ ...since('ck-3'), checkpoint: 'ck-4' })
  t.match(carried, { mode: BY_MAP, reason: null, parent: beside.manifest, root: beside.root })
  t.match(await backedUp(since('ck-4')), { mode: BY_MAP, reason: null })

  const told = async (...words: string[]) => {
    const { lines } = await runMoverJson(words, { repository: repository.path })
    return lines.filter(({ type }) => type === 'warning')
  }
  const warning = { code: 'MAY_MISS_CHANGES', message: new RegExp(`^manifest ${missed.manifest} `) }
  const target = (name: string) => join(dir, name)
  t.match(await told('list'), [warning])
  t.match(await told('verify'), [warning])
  t.match(await told('show', idOf(missed)), [warning])
  t.match(await told('restore', idOf(missed), target('missed')), [warning])
  const { stderr } = await runMover(['cat', idOf(missed), '--range', '0+512'], {
    repository: repository.path,
  })
  t.match(stderr, /may miss changes/)
  t.strictSame(await told('show', full), [])
  t.strictSame(await told('restore', idOf(carried), target('carried')), [])
  const onto = [target('missed'), '--force', 'exists', '--onto', idOf(missed)]
  t.match(await told('restore', idOf(carried), ...onto), [warning], 'the state it is restored onto')
})

t.test('what was written to while it was read accuses no tracker', async t => {
  const { source, repository } = await makeScene(t)
  await write(source, { offset: 0, length: 512 }, { content: 'noise', seed: 94 })
  await using opened = await openSource(source)
  const moving: Source = {
    ...opened,
    checkUnchanged: () =>
      Promise.reject(new MoverError('SOURCE_CHANGED', 'it was written to while it was read')),
  }
  const options = { source: moving, repository, volume: 'v', changes: allClean(MiB) }
  t.equal((await refused(t, options)).code, 'SOURCE_CHANGED')
})

t.test('what another backup caught meanwhile counts before the commit', async t => {
  const { source, repository, parent } = await makeScene(t)
  await using job = backup({ source, repository, volume: 'v', changes: allClean(MiB) })
  job.result.catch(() => {})
  const doubt = { volume: 'v', fullyRead: parent, slots: 1, createdMs: 0, writer: 'another' }
  for await (const event of job.events) {
    if (event.type === 'stage' && event.stage === 'audit') await recordDoubt(repository, doubt)
  }
  await t.rejects(job.result, { code: 'AUDIT_MISMATCH', stage: 'commit' })
  t.equal((await repository.manifests('v')).length, 1)
})

t.test('a repository that cannot take the doubt does not hide the lie', async t => {
  const { source, repository } = await makeScene(t)
  await write(source, { offset: 0, length: 512 }, { content: 'noise', seed: 93 })
  const disk = failingDisk({ call: 'link', code: 'EIO' })
  const failing = { ...repository, backend: await LocalBackend.open(repository.path, disk) }
  const options = { source, repository: failing, volume: 'v', changes: allClean(MiB) }
  await using job = backup(options)
  const events = gather(job.events)
  await t.rejects(job.result, { code: 'AUDIT_MISMATCH', remedy: /without --changes/ })
  const warned = { type: 'warning', code: 'BACKEND_FAILED', message: /could not be recorded/ }
  t.match(
    (await events).find(({ type }) => type === 'warning'),
    warned,
  )
  t.strictSame(objectsOf(repository.path, 'doubts'), [])
})

t.test('all manifests since the newest that was read in full are suspect', async t => {
  const { source, repository, parent: full } = await makeScene(t)
  const incremental = async (parent: string) =>
    idOf(await backedUp({ source, repository, volume: 'v', changes: allClean(MiB, null), parent }))
  const suspectsOn = async (t: Test, parent: string) => {
    const changes = allClean(MiB, null)
    const error = await refused(t, { source, repository, volume: 'v', changes, parent })
    t.equal(error.code, 'AUDIT_MISMATCH')
    forgetDoubts(repository.path)
    return new Set(error.details?.suspects as string[])
  }
  const first = await incremental(full)
  const second = await incremental(first)
  const beside = await incremental(full)
  await write(source, { offset: 0, length: 512 }, { content: 'noise', seed: 90 })
  const since = new Set([first, second, beside])
  t.strictSame(await suspectsOn(t, second), since, 'its ancestors, and what was made beside them')
  t.strictSame(await suspectsOn(t, full), since, 'though the parent itself was read in full')

  const rescan = idOf(await backedUp({ source, repository, volume: 'v' }))
  const afterwards = await incremental(rescan)
  await write(source, { offset: 512, length: 512 }, { content: 'noise', seed: 91 })
  t.strictSame(await suspectsOn(t, afterwards), new Set([afterwards]), 'a rescan ends suspicion')
})

const SEED = 2002
const SLOTS = 4096
const SAMPLED = 256

/** A volume whose tracker calls all clean, and of which some slots, drawn with the seed, were written to. */
async function lyingScene(t: Test, lies: number) {
  const volumeBytes = SLOTS * CHUNK_BYTES
  const { source, repository } = await makeScene(t, { bytes: volumeBytes, seed: SEED })
  const random = seededRandom(SEED + lies)
  const drawn = new Set<number>()
  while (drawn.size < lies) drawn.add(randomInteger(random, { from: 0, to: SLOTS - 1 }))
  for (const slot of drawn) {
    const extent = { offset: slot * CHUNK_BYTES + 512, length: 512 }
    await write(source, extent, { content: 'noise', seed: slot })
  }
  const options = { source, repository, volume: 'v', changes: allClean(volumeBytes) }
  return {
    drawn,
    audited: (audit: AuditPolicy) => backedUp({ ...options, audit }),
    forget: () => {
      forgetDoubts(repository.path)
    },
  }
}

/** Which slots are read is drawn by the system's generator: no seed, or a guest could know them. */
for (const [percent, lies, trials] of [
  [0.1, 4, 120],
  [1, 41, 60],
  [10, 410, 40],
] as const) {
  t.test(`lies about ${percent} % of the clean slots, seed ${SEED}`, async t => {
    const { drawn, audited, forget } = await lyingScene(t, lies)
    const missed: string[] = []
    let named = 0
    for (let trial = 0; trial < trials; trial += 1) {
      try {
        const result = await audited('default')
        t.equal(result.audit.slots, SAMPLED)
        missed.push(idOf(result))
      } catch (error) {
        if (!(error instanceof MoverError) || error.code !== 'AUDIT_MISMATCH') throw error
        forget()
        const { slots, suspects } = error.details as { slots: number[]; suspects: string[] }
        t.ok(slots.length > 0 && slots.every(slot => drawn.has(slot)), 'it names lies only')
        t.strictSame(new Set(suspects), new Set(missed))
        named += slots.length
      }
    }
    // Together, all of this is out of bounds once in millions of runs.
    const miss = missChance({ population: SLOTS, lies, sampled: SAMPLED })
    const { least, most } = missBounds({ trials, miss, doubt: 1e-9 })
    const words = `${missed.length} of ${trials} missed, ${(trials * miss).toFixed(1)} expected`
    t.ok(missed.length >= least && missed.length <= most, `${words}, ${least} to ${most} allowed`)
    const expected = (trials * SAMPLED * lies) / SLOTS
    const within = 6 * Math.sqrt(expected)
    t.ok(
      Math.abs(named - expected) < within,
      `${named} were named, ${expected.toFixed(1)} expected`,
    )
  })
}

t.test(`the whole of a lie, and a tracker that is believed, seed ${SEED}`, async t => {
  const { drawn, audited, forget } = await lyingScene(t, 41)
  const slots = [...drawn].sort((a, b) => a - b)
  await t.rejects(audited(100), { code: 'AUDIT_MISMATCH', details: { slots } }, '100 % names all')
  forget()
  t.match(await audited('off'), { mode: BY_MAP, audit: { slots: 0, bytes: 0 } }, 'off, and says so')
})

t.test('the sample is drawn from all of the volume, and is as large as promised', async t => {
  const slots = 2048
  const volumeBytes = slots * CHUNK_BYTES - 100
  const scene = await makeScene(t, { bytes: volumeBytes, seed: 30 })
  const { dir, repository } = scene
  const granularityBytes = GRANULARITY_BYTES
  const geometry = { granularityBytes, volumeBytes }
  for (let part = 0; part < 8; part += 1) {
    t.test(`lies in part ${part + 1} of 8 only`, async t => {
      const source = join(dir, `lying-${part}`)
      copyFileSync(scene.source, source)
      const from = part * (slots / 8)
      for (let slot = from; slot < from + slots / 8; slot += 1) {
        const extent = { offset: slot * CHUNK_BYTES, length: 100 }
        await write(source, extent, { content: 'noise', seed: slot })
      }
      // Not to find one of 256 in a sample of 256 is one run in 10^15.
      const changes = allClean(volumeBytes)
      const error = await refused(t, { source, repository, volume: 'v', changes })
      t.equal(error.code, 'AUDIT_MISMATCH')
      forgetDoubts(repository.path)
    })
  }
  const dirty = (count: number) => [{ offset: 0, length: count * CHUNK_BYTES }]
  const rows: { read: number; audit: AuditPolicy; slots: number }[] = [
    { read: 0, audit: 'default', slots: 256 },
    { read: 101, audit: 'default', slots: 262 },
    { read: 2000, audit: 'default', slots: 48 },
    { read: 48, audit: 1, slots: 20 },
    { read: 48, audit: 100, slots: 2000 },
  ]
  for (const { read, audit, slots } of rows) {
    t.test(`${read} slots read, audit ${audit}`, async t => {
      const bits = bitmapOfWrites(dirty(read), geometry)
      const changes = bitmapChanges({ bits, granularityBytes, since: 'ck-1' })
      const result = await backedUp({
        source: scene.source,
        repository,
        volume: 'v',
        changes,
        audit,
        readHoles: true,
      })
      t.equal(result.audit.slots, slots)
      t.match(await repository.resolve(idOf(result)), { audit: result.audit })
    })
  }
})
