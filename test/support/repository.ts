/** Repositories of tests: made and opened in one step, and looked at from outside. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Test } from 'tap'
import type { Disk } from '../../src/backend/disk.js'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { backup, type BackupOptions, type BackupResult } from '../../src/backup.js'
import { initRepository, openRepository, type Repository } from '../../src/repository.js'
import { restore, type RestoreOptions, type RestoreResult } from '../../src/restore.js'
import { ChunkStore } from '../../src/store/chunk-store.js'
import type { RepositoryDefaults } from '../../src/store/repository-config.js'
import { verify, type VerifyOptions, type VerifyResult } from '../../src/verify.js'

/** A new repository in the folder `path`, closed when the test ends. */
export async function makeRepository(
  t: Test,
  path: string,
  defaults: Partial<RepositoryDefaults> = {},
): Promise<Repository> {
  await initRepository(path, defaults)
  return reopen(t, path)
}

/** A second opening of a repository: it knows nothing that the first one has in memory. */
export async function reopen(t: Test, path: string): Promise<Repository> {
  const repository = await openRepository(path)
  t.teardown(() => repository[Symbol.asyncDispose]())
  return repository
}

/** Runs a backup to its end. */
export async function backedUp(options: BackupOptions): Promise<BackupResult> {
  await using job = backup(options)
  return await job.result
}

/** Runs a restore to its end. */
export async function restored(options: RestoreOptions): Promise<RestoreResult> {
  await using job = restore(options)
  return await job.result
}

/** Runs a verification to its end. */
export async function verified(options: VerifyOptions): Promise<VerifyResult> {
  await using job = verify(options)
  return await job.result
}

/** The id of a result that must have one. */
export function idOf({ manifest }: BackupResult): string {
  if (manifest === null) throw new Error('this backup made no manifest')
  return manifest
}

/** Every file of a repository with the digest of its bytes: two are the same when nothing was changed. */
export function inventory(path: string): Readonly<Record<string, string>> {
  const files = filesBelow(path)
  return Object.fromEntries(
    files.map(file => [
      file,
      createHash('sha256')
        .update(readFileSync(join(path, file)))
        .digest('hex'),
    ]),
  )
}

/** Names of the files of a kind (`packs`, `index`, `manifests`, `sessions`, `tmp`), sorted. */
export function objectsOf(path: string, kind: string): string[] {
  return filesBelow(join(path, kind))
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => relative(folder, join(entry.parentPath, entry.name)))
    .sort()
}

/** What a test puts in the place of a repository's own parts. */
export interface Parts {
  readonly disk?: Disk
  readonly segmentBytesMax?: number
}

/** A further opening of a repository, on another disk, or that makes short segments. */
export async function reopenWith(
  t: Test,
  path: string,
  { disk, segmentBytesMax }: Parts,
): Promise<Repository> {
  const repository = await reopen(t, path)
  const backend = await LocalBackend.open(path, disk)
  const store = new ChunkStore(backend, repository.id, segmentBytesMax)
  t.teardown(() => store[Symbol.asyncDispose]())
  return { ...repository, backend, store }
}
