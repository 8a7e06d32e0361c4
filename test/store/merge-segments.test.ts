/**
 * The index while segments come and go: merged by one job, by many at once, and by one that is killed.
 * Whatever happens, everything that a manifest names is found, by the same handle and by a new one.
 */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NODE_DISK, type Disk } from '../../src/backend/disk.js'
import { native } from '../../src/native/addon.js'
import { SEGMENTS_PER_TIER } from '../../src/plan/segment-merge-plan.js'
import { rebuildIndex } from '../../src/rebuild-index.js'
import type { Repository } from '../../src/repository.js'
import { mergeSegments } from '../../src/store/merge-segments.js'
import { flipByte } from '../support/damage.js'
import {
  backedUp,
  idOf,
  makeRepository,
  objectsOf,
  reopen,
  reopenWith,
  restored,
  verified,
} from '../support/repository.js'
import { contentOf, KiB } from '../support/volumes.js'

/** Backs up a new volume of a few chunks: one more segment. */
async function tinyBackup(folder: string, repository: Repository, seed: number): Promise<Backup> {
  const source = join(folder, `volume-${seed}`)
  await writeFile(source, contentOf('text', seed, 128 * KiB + seed))
  const result = await backedUp({ source, repository, volume: `v${seed}` })
  return { source, manifest: idOf(result), written: result.bytes.written }
}

interface Backup {
  readonly source: string
  readonly manifest: string
  readonly written: number
}

/** Restores all of them, and verifies every byte of the repository. */
async function areWhole(t: Test, repository: Repository, backups: readonly Backup[]) {
  const target = `${repository.path}-target`
  for (const { source, manifest } of backups) {
    await restored({ repository, manifest, target, force: ['exists'] })
    t.ok(readFileSync(source).equals(readFileSync(target)), `${source} is restored`)
  }
  t.strictSame((await verified({ repository })).damage, [])
}

/** The 8th and the 16th failed at the commit: what a merge removed was taken off, and the sum was negative. */
t.test('forty tiny backups in one repository, and each restores', async t => {
  const folder = t.testdir()
  const repository = await makeRepository(t, join(folder, 'repository'))
  const backups: Backup[] = []
  for (let seed = 1; seed <= 40; seed += 1) {
    const backup = await tinyBackup(folder, repository, seed)
    t.ok(backup.written > 0, `${seed}: ${backup.written} bytes were written`)
    backups.push(backup)
    const listed = objectsOf(repository.path, 'index').length
    t.ok(listed < 2 * SEGMENTS_PER_TIER, `${listed} segments`)
  }
  await areWhole(t, repository, backups)
  await areWhole(t, await reopen(t, repository.path), backups)
})

/** One job dropped what another had planned to merge, or was about to open: it failed. */
t.test('many tiny backups at once, of one handle and of several', async t => {
  for (const handles of [1, 3]) {
    await t.test(`${handles} handles`, async t => {
      const folder = t.testdir()
      const path = join(folder, 'repository')
      const repositories = [await makeRepository(t, path)]
      while (repositories.length < handles) repositories.push(await reopen(t, path))
      const backups: Backup[] = []
      for (let round = 0; round < 2; round += 1) {
        const jobs = Array.from({ length: 18 }, (_, nth) => {
          const repository = repositories[nth % handles]
          if (repository === undefined) throw new Error('there is a handle for each job')
          return tinyBackup(folder, repository, 100 * round + nth + 1)
        })
        backups.push(...(await Promise.all(jobs)))
      }
      for (const repository of repositories) await areWhole(t, repository, backups.slice(-4))
      await areWhole(t, await reopen(t, path), backups)
      const listed = objectsOf(path, 'index').length
      t.ok(listed < backups.length, `${listed} segments are left`)
    })
  }
})

/** Fills a tier but for one, on a handle; returns what was backed up. */
async function almostFullTier(folder: string, repository: Repository): Promise<Backup[]> {
  const backups: Backup[] = []
  for (let seed = 1; seed < SEGMENTS_PER_TIER; seed += 1) {
    backups.push(await tinyBackup(folder, repository, seed))
  }
  return backups
}

/** The disk, which does something before a name below index/ is unlinked or after one is linked. */
function watchedDisk(on: { linked?: () => Promise<void>; unlinking?: () => Promise<void> }): Disk {
  const isIndex = (path: string) => path.includes('/index/')
  return {
    ...NODE_DISK,
    async link(path, name) {
      await NODE_DISK.link(path, name)
      if (isIndex(name)) await on.linked?.()
    },
    async unlink(path) {
      if (isIndex(path)) await on.unlinking?.()
      await NODE_DISK.unlink(path)
    },
  }
}

t.test(
  'a merge killed at any removal leaves nothing missing, and the next one goes on',
  async t => {
    for (const removed of [0, 1, 4, SEGMENTS_PER_TIER - 1, SEGMENTS_PER_TIER]) {
      await t.test(`after ${removed} removals`, async t => {
        const folder = t.testdir()
        const path = join(folder, 'repository')
        const backups = await almostFullTier(folder, await makeRepository(t, path))
        let removals = 0
        const unlinking = async () => {
          if (++removals > removed) throw Object.assign(new Error('killed'), { code: 'EIO' })
        }
        const dying = await reopenWith(t, path, { disk: watchedDisk({ unlinking }) })
        const last = tinyBackup(folder, dying, SEGMENTS_PER_TIER)
        if (removed < SEGMENTS_PER_TIER) await t.rejects(last, { code: 'BACKEND_FAILED' })
        else backups.push(await last)
        t.equal(objectsOf(path, 'index').length, 1 + SEGMENTS_PER_TIER - removed)

        await areWhole(t, await reopen(t, path), backups)
        const after = await reopen(t, path)
        for (let seed = 20; seed < 29; seed += 1) {
          backups.push(await tinyBackup(folder, after, seed))
        }
        await areWhole(t, after, backups.slice(-2))
        await areWhole(t, await reopen(t, path), backups)
        t.ok(objectsOf(path, 'index').length < 2 * SEGMENTS_PER_TIER)
      })
    }
  },
)

async function mergeNow(repository: Repository): Promise<number> {
  await repository.store.refresh()
  await using session = await repository.beginSession('write', null)
  return await mergeSegments(repository.store, session)
}

t.test('two processes merge the same segments, and make the same one', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const backups = await almostFullTier(folder, await makeRepository(t, path))
  const kept = join(folder, 'kept')
  mkdirSync(kept)
  const index = join(path, 'index')
  const other = await reopen(t, path)
  let last: string[] = []
  // The other process has merged when this one links its merger, but removed nothing yet.
  let links = 0
  const linked = async () => {
    if (++links !== 1) return
    for (const name of readdirSync(index)) copyFileSync(join(index, name), join(kept, name))
    t.ok((await mergeNow(other)) > 0, 'the other one merges')
    last = readdirSync(index)
    for (const name of readdirSync(kept)) copyFileSync(join(kept, name), join(index, name))
  }
  const repository = await reopenWith(t, path, { disk: watchedDisk({ linked }) })
  backups.push(await tinyBackup(folder, repository, SEGMENTS_PER_TIER))
  t.equal(links, 1, 'the name was taken')
  t.strictSame(readdirSync(index), last, 'there is one segment, the same of both')
  for (const handle of [repository, other, await reopen(t, path)]) {
    await areWhole(t, handle, backups)
  }
})

/** It could not be opened any more, and the backup failed. */
t.test('a segment is merged away by another process before its own job has opened it', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const backups = await almostFullTier(folder, await makeRepository(t, path))
  const other = await reopen(t, path)
  const linked = async () => {
    await mergeNow(other)
  }
  const repository = await reopenWith(t, path, { disk: watchedDisk({ linked }) })
  backups.push(await tinyBackup(folder, repository, SEGMENTS_PER_TIER))
  t.equal(objectsOf(path, 'index').length, 1)
  for (const handle of [repository, other, await reopen(t, path)]) {
    await areWhole(t, handle, backups)
  }
})

/** The listing had neither the segments that went nor the one that came: chunks seemed to be missing. */
t.test('a listing that a merge overtakes is made again', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const first = await makeRepository(t, path)
  const backups = await almostFullTier(folder, first)
  const merging = await reopen(t, path)
  let isMerged = false
  const disk: Disk = {
    ...NODE_DISK,
    async readdir(folder) {
      const names = await NODE_DISK.readdir(folder)
      if (folder.endsWith('/index') && !isMerged) {
        isMerged = true
        backups.push(await tinyBackup(t.testdirName, merging, SEGMENTS_PER_TIER))
      }
      return names
    },
  }
  const reader = await reopenWith(t, path, { disk })
  await areWhole(t, reader, backups.slice())
  t.equal(isMerged, true)
  t.strictSame(heldBy(reader), objectsOf(path, 'index'))
})

function heldBy({ store }: Repository): string[] {
  return native(addon => addon.listSegments(store.index), 'open').map(({ id }) => id)
}

t.test('a reader that holds what was merged away, or both, takes the merger up', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const writer = await makeRepository(t, path)
  const backups = await almostFullTier(folder, writer)
  const reader = await reopen(t, path)
  await reader.store.refresh()
  const held = heldBy(reader)
  t.equal(held.length, SEGMENTS_PER_TIER - 1)
  const kept = join(folder, 'kept')
  mkdirSync(kept)
  for (const id of held) copyFileSync(join(path, 'index', id), join(kept, id))
  backups.push(await tinyBackup(folder, writer, SEGMENTS_PER_TIER))
  const merged = objectsOf(path, 'index')
  t.equal(merged.length, 1)

  await areWhole(t, reader, backups)
  t.strictSame(heldBy(reader), merged)
  for (const id of held) copyFileSync(join(kept, id), join(path, 'index', id))
  for (const handle of [reader, await reopen(t, path)]) {
    await areWhole(t, handle, backups)
    t.equal(heldBy(handle).length, SEGMENTS_PER_TIER, 'what is listed is used')
  }
  for (const id of held) rmSync(join(path, 'index', id))
  await areWhole(t, reader, backups)
  t.strictSame(heldBy(reader), merged)
})

t.test('a damaged segment fails no backup that does not need it', async t => {
  const folder = t.testdir()
  const repository = await makeRepository(t, join(folder, 'repository'))
  await almostFullTier(folder, repository)
  const segments = objectsOf(repository.path, 'index')
  // The middle of its one page of rows: a merge reads it, looking up what is new does not.
  flipByte(join(repository.path, 'index', segments[0] ?? ''), 6000)
  const last = await tinyBackup(folder, repository, 1000)
  t.ok(objectsOf(repository.path, 'index').length > segments.length, 'nothing was merged away')
  t.match((await verified({ repository })).damage, [{ kind: 'segment' }])
  const target = join(folder, 'target')
  await rebuildIndex({ repository }).result
  await restored({ repository, manifest: last.manifest, target })
  t.ok(readFileSync(last.source).equals(readFileSync(target)))
})
