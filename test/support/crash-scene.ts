/**
 * The scene of the tests in crash/: a volume that has one backup, then changed by what a bitmap
 * names, and a second backup that dies somewhere on its way.
 */
import { cp, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { BackupResult } from '../../src/backup.js'
import { openRepository, type Repository } from '../../src/repository.js'
import { changesFromFile } from '../../src/source/changes-file.js'
import { backedUp, idOf, makeRepository, objectsOf, restored, verified } from './repository.js'
import { runMoverJson, type Finished, type RunOptions } from './run-mover.js'
import { bitmapOfWrites, changeVolume, cmp, makeVolume, MiB } from './volumes.js'

export interface CrashScene {
  /** Id of the manifest of the first backup, which stands for the checkpoint `first`. */
  readonly first: string
  /** A repository of its own that holds the first backup; removed by `clear`. */
  copy(name: string): Promise<string>
  clear(name: string): Promise<void>
  /** Runs the second backup as a program. */
  run(
    repository: string,
    options: Omit<RunOptions, 'repository'> & { readonly workers?: number },
  ): Promise<Finished>
  /** What must hold of a repository in which it died; answers what the same backup then came to. */
  checkAfterCrash(t: Test, repository: string): Promise<BackupResult>
}

const GRANULARITY_BYTES = 65_536

/** Makes the scene in the folder `dir`. */
export async function makeCrashScene(
  t: Test,
  dir: string,
  { bytes, seed }: { readonly bytes: number; readonly seed: number },
): Promise<CrashScene> {
  const [before, source, bitmap, base] = ['before', 'volume', 'bitmap', 'base'].map(name =>
    join(dir, name),
  ) as [string, string, string, string]
  await makeVolume(before, { bytes, seed })
  const repository = await makeRepository(t, base, { packBytes: MiB })
  const first = idOf(
    await backedUp({ source: before, repository, volume: 'v', checkpoint: 'first' }),
  )
  await cp(before, source)
  const writes = await changeVolume(source, { seed: seed + 1, writes: 40 })
  const geometry = { granularityBytes: GRANULARITY_BYTES, volumeBytes: bytes }
  await writeFile(bitmap, bitmapOfWrites(writes, geometry))
  const changes = `bitmap:${bitmap},granularity=${GRANULARITY_BYTES},since=first`
  const scene = { dir, first, before, source, changes }
  return {
    first,
    async copy(name) {
      await cp(base, join(dir, name), { recursive: true })
      return join(dir, name)
    },
    clear: name => rm(join(dir, name), { recursive: true }),
    run: (path, { workers, ...options }) =>
      runMoverJson(
        [
          ...['backup', source, '--volume', 'v', '--changes', changes, '--checkpoint', 'second'],
          ...(workers === undefined ? [] : ['--workers', `${workers}`]),
        ],
        { ...options, repository: path },
      ),
    checkAfterCrash: (t, path) => checkAfterCrash(t, path, scene),
  }
}

interface SceneFiles {
  readonly dir: string
  readonly first: string
  readonly before: string
  readonly source: string
  readonly changes: string
}

async function checkAfterCrash(t: Test, path: string, scene: SceneFiles): Promise<BackupResult> {
  const { first, before, source, changes } = scene
  await using repository = await openRepository(path)
  const manifests = await repository.manifests('v')
  t.equal(manifests[0]?.id, first, 'the first backup is listed')
  t.strictSame((await verified({ repository })).damage, [], 'what is listed is whole')
  const volumes = [before, ...manifests.slice(1).map(() => source)]
  await checkRestores(t, repository, volumes)

  const again = await backedUp({
    source,
    repository,
    volume: 'v',
    changes: await changesFromFile(changes),
    checkpoint: 'second',
  })
  t.match(again.mode, /incremental|differential/, 'the next backup needs no help')
  t.equal(again.parent, first, 'and builds on what its bitmap counts from')
  await checkRestores(t, repository, [...volumes, source])
  t.strictSame(objectsOf(path, 'sessions'), [], 'dead sessions are swept')
  await checkSwept(t, repository)
  return again
}

/**
 * What died with its session went with it; what died before its session could be seen, or was a
 * small object of no session, goes when it is old.
 */
async function checkSwept(t: Test, repository: Repository): Promise<void> {
  const { path } = repository
  const left = objectsOf(path, 'tmp')
  t.ok(
    left.every(name => /\.(session|object)$/.test(name)),
    `no packs or segments are left: ${left.join(', ')}`,
  )
  const old = Date.now() / 1000 - 2 * 60 * 60
  for (const name of left) await utimes(join(path, 'tmp', name), old, old)
  await using _session = await repository.beginSession('read', null)
  t.strictSame(objectsOf(path, 'tmp'), [])
}

/** Restores every manifest, oldest first, and compares it with the volume that it was made of. */
async function checkRestores(
  t: Test,
  repository: Repository,
  volumes: readonly string[],
): Promise<void> {
  const manifests = await repository.manifests('v')
  t.equal(manifests.length, volumes.length)
  for (const [position, volume] of volumes.entries()) {
    const target = `${repository.path}.restored`
    await restored({ repository, manifest: manifests[position]?.id ?? '', target })
    t.equal(await cmp(volume, target), '')
    await rm(target)
  }
}
