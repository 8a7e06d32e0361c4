/**
 * Promise 3. The tracker advances after the commit, never before. Who owns the tracker rotates it on
 * the result, and merges the bitmap back when there is none: so the result comes only when the
 * manifest is there, and a failed backup leaves what its bitmap counts from as it was.
 */
import { copyFileSync } from 'node:fs'
import { appendFile, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { backup, type BackupOptions, type BackupResult } from '../../src/backup.js'
import type { Extent } from '../../src/core/extent.js'
import type { Repository } from '../../src/repository.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { forgetDoubts } from '../support/doubts.js'
import { failingDisk, type DiskCall } from '../support/failing-disk.js'
import { randomInteger, seededRandom } from '../support/random.js'
import {
  backedUp,
  idOf,
  makeRepository,
  objectsOf,
  reopen,
  restored,
  verified,
} from '../support/repository.js'
import {
  bitmapOfWrites,
  changeVolume,
  cmp,
  KiB,
  makeVolume,
  MiB,
  write,
} from '../support/volumes.js'

const VOLUME_BYTES = 2 * MiB
const GRANULARITY_BYTES = 64 * KiB
const GEOMETRY = { granularityBytes: GRANULARITY_BYTES, volumeBytes: VOLUME_BYTES }

interface Scene {
  readonly dir: string
  readonly source: string
  readonly repository: Repository
  /** Id of the first backup, which stands for the checkpoint `ck-1`. */
  readonly first: string
}

async function makeScene(t: Test, seed: number): Promise<Scene> {
  const dir = t.testdir({})
  const source = join(dir, 'volume')
  await makeVolume(source, { bytes: VOLUME_BYTES, seed })
  const repository = await makeRepository(t, join(dir, 'repo'), { packBytes: MiB })
  const first = idOf(await backedUp({ source, repository, volume: 'v', checkpoint: 'ck-1' }))
  return { dir, source, repository, first }
}

const changesOf = (writes: readonly Extent[], since: string) =>
  bitmapChanges({
    bits: bitmapOfWrites(writes, GEOMETRY),
    granularityBytes: GRANULARITY_BYTES,
    since,
  })

/** The repository on a disk on which committing a manifest fails at this call. */
async function failingCommit(repository: Repository, call: DiskCall): Promise<Repository> {
  const disk = failingDisk({ call, code: 'EIO' })
  return { ...repository, backend: await LocalBackend.open(repository.path, disk) }
}

async function checkRestores(t: Test, scene: Scene, manifest: string, volume: string) {
  const target = join(scene.dir, `restored-${manifest}`)
  await restored({ repository: scene.repository, manifest, target })
  t.equal(await cmp(volume, target), '')
}

t.test('when the result is there, so is the manifest, for everybody', async t => {
  const { source, repository } = await makeScene(t, 1)
  for (let run = 0; run < 8; run += 1) {
    const writes = await changeVolume(source, { seed: 10 + run, writes: 5 })
    const since = `ck-${run + 1}`
    const options = { source, repository, volume: 'v', checkpoint: `ck-${run + 2}` }
    const id = idOf(await backedUp({ ...options, changes: changesOf(writes, since) }))
    const other = await reopen(t, repository.path)
    t.equal((await other.manifests('v')).at(-1)?.id, id)
    t.equal((await other.resolve('latest', 'v')).checkpoint, `ck-${run + 2}`)
  }
})

/** A way for a backup to fail after it has begun. */
interface Failure {
  readonly name: string
  readonly code: string
  readonly fail: (options: BackupOptions) => Promise<BackupResult>
  /** How the next backup with an honest map is made. */
  readonly next?: object
}

const atStage = (stage: string, act: (job: ReturnType<typeof backup>) => unknown) => {
  return async (options: BackupOptions): Promise<BackupResult> => {
    await using job = backup(options)
    job.result.catch(() => {})
    for await (const event of job.events) {
      if (event.type === 'stage' && event.stage === stage) await act(job)
    }
    return await job.result
  }
}

const failures: Failure[] = [
  {
    name: 'cancelled before it reads',
    code: 'CANCELLED',
    fail: atStage('plan', job => job.cancel()),
  },
  {
    name: 'cancelled while it reads',
    code: 'CANCELLED',
    fail: atStage('read', job => job.cancel()),
  },
  {
    name: 'cancelled in the audit',
    code: 'CANCELLED',
    fail: atStage('audit', job => job.cancel()),
  },
  {
    name: 'the source is written to',
    code: 'SOURCE_CHANGED',
    fail: options => {
      const source = options.source as string
      return atStage('read', () => utimes(source, new Date(0), new Date(0)))(options)
    },
  },
  {
    name: 'the source grows',
    code: 'SOURCE_CHANGED',
    fail: async options => {
      const copy = `${options.source as string}-growing`
      copyFileSync(options.source as string, copy)
      return atStage('read', () => appendFile(copy, Buffer.alloc(512)))({
        ...options,
        source: copy,
      })
    },
  },
  {
    name: 'the tracker lies',
    code: 'AUDIT_MISMATCH',
    fail: options => backedUp({ ...options, changes: changesOf([], 'ck-1') }),
    next: { mode: 'rescan', reason: 'tracker-lied' },
  },
  ...(['open', 'write', 'datasync', 'link', 'sync'] as const).map(call => ({
    name: `the manifest cannot be committed: ${call}`,
    code: 'BACKEND_FAILED',
    fail: async (options: BackupOptions) =>
      backedUp({ ...options, repository: await failingCommit(options.repository, call) }),
  })),
]

for (const { name, code, fail, next } of failures) {
  t.test(`after a backup that failed, the same bitmap works again: ${name}`, async t => {
    const scene = await makeScene(t, 2)
    const { source, repository, first } = scene
    const before = join(scene.dir, 'before')
    copyFileSync(source, before)
    const writes = await changeVolume(source, { seed: 3, writes: 12 })
    const options = { source, repository, volume: 'v', changes: changesOf(writes, 'ck-1') }

    await t.rejects(fail({ ...options, checkpoint: 'ck-2' }), { code })
    t.strictSame(
      (await repository.manifests('v')).map(({ id }) => id),
      [first],
      'nothing stands for the checkpoint of the failed one',
    )
    for (const kind of ['tmp', 'sessions']) t.strictSame(objectsOf(repository.path, kind), [])

    const again = await backedUp({ ...options, checkpoint: 'ck-3' })
    t.match(again, { mode: 'incremental', reason: null, ...next, parent: first })
    await checkRestores(t, scene, first, before)
    await checkRestores(t, scene, idOf(again), source)
    t.strictSame((await verified({ repository })).damage, [])
    // A tracker that had been rotated to the failed one counts from nothing that is known.
    const wrong = await backedUp({ ...options, changes: changesOf([], 'ck-2') })
    t.match(wrong, { mode: 'rescan', reason: 'lineage', root: again.root })
  })
}

t.test('the merged bitmap of two generations restores both', async t => {
  const scene = await makeScene(t, 4)
  const { source, repository, first } = scene
  const failed = await changeVolume(source, { seed: 5, writes: 10 })
  const options = { source, repository, volume: 'v' }
  const cancelled = backup({ ...options, changes: changesOf(failed, 'ck-1'), checkpoint: 'ck-2' })
  cancelled.cancel()
  await t.rejects(cancelled.result, { code: 'CANCELLED' })

  // A write of its own in each generation, and one that both have made.
  const own = await write(source, { offset: 0, length: 512 }, { content: 'noise', seed: 50 })
  const later = await changeVolume(source, { seed: 6, writes: 10 })
  const both = [...failed, own, ...later, ...failed.slice(0, 3)]
  const fresh = await makeRepository(t, join(scene.dir, 'fresh'))
  const { root } = await backedUp({ source, repository: fresh, volume: 'v' })
  const merged = await backedUp({ ...options, changes: changesOf(both, 'ck-1') })
  t.match(merged, { mode: 'incremental', parent: first, root })
  await checkRestores(t, scene, idOf(merged), source)

  // The test can tell: without what the failed generation had counted, the root is another.
  const changes = changesOf([own, ...later], 'ck-1')
  const torn = await backedUp({ ...options, changes, audit: 'off' })
  t.not(torn.root, root)
})

const SEED = 33
const NIGHTS = 24

t.test(`nights of an orchestrator, of which some fail, seed ${SEED}`, async t => {
  const scene = await makeScene(t, SEED)
  const { dir, source, repository, first } = scene
  const random = seededRandom(SEED)
  const held = [{ id: first, volume: join(dir, 'night-0') }]
  copyFileSync(source, join(dir, 'night-0'))
  let since = 'ck-1'
  let dirty: Extent[] = []
  let failed = 0
  for (let night = 1; night <= NIGHTS; night += 1) {
    // Frozen: writes go on into the next generation while this one is backed up.
    dirty = [...dirty, ...(await changeVolume(source, { seed: SEED + night, writes: 6 }))]
    const failure = failures[randomInteger(random, { from: 0, to: failures.length * 2 })]
    const checkpoint = `ck-night-${night}`
    const changes = changesOf(dirty, since)
    const options = { source, repository, volume: 'v', changes, checkpoint }
    if (failure === undefined) {
      const result = await backedUp(options)
      t.match(result, { mode: 'incremental', parent: held.at(-1)?.id })
      copyFileSync(source, join(dir, `night-${night}`))
      held.push({ id: idOf(result), volume: join(dir, `night-${night}`) })
      since = checkpoint
      dirty = []
    } else {
      failed += 1
      await t.rejects(failure.fail(options), { code: failure.code })
      // That the next map is not believed then is promise 2: here each night has its own chance.
      forgetDoubts(repository.path)
    }
  }
  t.ok(failed > 3 && held.length > 6, `${failed} nights of ${NIGHTS} failed`)
  for (const { id, volume } of held) await checkRestores(t, scene, id, volume)
  t.strictSame((await verified({ repository, independent: true })).damage, [])
})
