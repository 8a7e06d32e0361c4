/**
 * Promise 7: what is damaged is healed by what is left of it: an index by the packs, a chunk by another
 * copy of it, and a lost pack by the next backup of a source that still has its bytes.
 */
import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { backup } from '../../src/backup.js'
import { rebuildIndex } from '../../src/rebuild-index.js'
import { openRepository, type Repository } from '../../src/repository.js'
import { extentChanges } from '../../src/source/change-source.js'
import {
  copyRepository,
  flipByte,
  idOfObject,
  objectsByKind,
  packParts,
} from '../support/damage.js'
import { backedUp, idOf, makeRepository, restored, verified } from '../support/repository.js'
import { changeVolume, cmp, KiB, makeVolume, MiB } from '../support/volumes.js'

const SIZES = { chunkBytes: 16 * KiB, packBytes: MiB }
const ROTTEN = 'stored bytes'

interface Scene {
  readonly folder: string
  readonly path: string
  readonly volume: string
  readonly manifest: string
}

/** A repository with two backups of a volume; the manifest is that of the newer one. */
async function scene(t: Test): Promise<Scene> {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const volume = join(folder, 'volume')
  const repository = await makeRepository(t, path, SIZES)
  await makeVolume(volume, { bytes: 4 * MiB + 512, seed: 17 })
  await backedUp({ source: volume, repository, volume: 'vm' })
  await changeVolume(volume, { seed: 18, writes: 12 })
  const manifest = idOf(await backedUp({ source: volume, repository, volume: 'vm' }))
  return { folder, path, volume, manifest }
}

/** Restores the manifest, wherever the repository lies, and compares it with the volume. */
async function isRestored(scene: Scene, repository: Repository): Promise<string> {
  const target = join(scene.folder, 'target')
  rmSync(target, { force: true })
  await restored({ repository, manifest: scene.manifest, target })
  return cmp(scene.volume, target)
}

t.test('an index that is damaged or gone is made anew from the packs', async t => {
  const all = await scene(t)
  const segments = objectsByKind(all.path).segment
  const spoil: Readonly<Record<string, (path: string) => void>> = {
    'one is damaged': path => flipByte(join(path, segments[0] ?? ''), 5000),
    'one is cut': path => truncateSync(join(path, segments[0] ?? ''), 100),
    'one is empty': path => truncateSync(join(path, segments[1] ?? ''), 0),
    'one is gone': path => rmSync(join(path, segments[0] ?? '')),
    'all are gone': path => segments.forEach(name => rmSync(join(path, name))),
    'all is well': () => undefined,
  }
  for (const [what, act] of Object.entries(spoil)) {
    const path = copyRepository(all.path, join(all.folder, 'spoilt'))
    act(path)
    const repository = await openRepository(path)
    if (what !== 'all is well') {
      await t.rejects(isRestored(all, repository), { code: /SEGMENT_CORRUPT|CHUNK_MISSING/ }, what)
    }
    if (what === 'one is cut' || what === 'one is empty') {
      const backup = backedUp({ source: all.volume, repository, volume: 'vm', full: true })
      await t.rejects(backup, { code: 'SEGMENT_CORRUPT', remedy: /rebuild-index/ }, 'it is no "no"')
    }
    const rebuilt = await rebuildIndex({ repository }).result
    t.match(rebuilt, { packs: packsIn(path), damage: [] }, what)
    t.not(rebuilt.entries, 0)
    t.equal(await isRestored(all, repository), '', `${what}: restored`)
    t.strictSame((await verified({ repository })).damage, [], what)
    t.strictSame((await verified({ repository, packs: true })).damage, [], what)
    const again = await backedUp({ source: all.volume, repository, volume: 'vm' })
    t.equal(again.bytes.stored, 0, `${what}: and every chunk is known again`)
    await repository[Symbol.asyncDispose]()
    rmSync(path, { recursive: true })
  }
})

function packsIn(path: string): number {
  const { data, page } = objectsByKind(path)
  return data.length + page.length
}

t.test('packs whose footer is damaged are read frame by frame, and named', async t => {
  const all = await scene(t)
  const { data, page, segment } = objectsByKind(all.path)
  const spoilt = [data[0] ?? '', page[0] ?? '']
  for (const name of spoilt) {
    const { trailer = 0 } = packParts(readFileSync(join(all.path, name)))
    flipByte(join(all.path, name), trailer)
  }
  segment.forEach(name => rmSync(join(all.path, name)))
  const repository = await openRepository(all.path)
  const { damage } = await rebuildIndex({ repository }).result
  t.strictSame(
    damage.map(({ kind, name }) => `${kind} ${name}`).sort(),
    spoilt.map(name => `pack ${idOfObject(name)}`).sort(),
  )
  t.equal(await isRestored(all, repository), '', 'nothing of them was lost')
  await repository[Symbol.asyncDispose]()
})

t.test('a rotten pack, moved away, heals with the next backup of the same bytes', async t => {
  const all = await scene(t)
  for (const kind of ['data', 'page'] as const) {
    for (const isRebuilt of [true, false]) {
      const path = copyRepository(all.path, join(all.folder, 'spoilt'))
      const repository = await openRepository(path)
      // The newest manifest's: it is what the volume holds now.
      const name = objectsByKind(path)[kind].at(kind === 'page' ? 0 : -1) ?? ''
      const { [ROTTEN]: at = 0 } = packParts(readFileSync(join(path, name)))
      flipByte(join(path, name), at)
      const found = (await verified({ repository, packs: true })).damage
      t.match(found, [{ kind: 'pack', name: idOfObject(name) }], `${kind}: verify --packs names it`)
      const { manifest } = all
      const target = join(all.folder, 'old')
      writeFileSync(target, 'what was there')
      const over = restored({ repository, manifest, target, force: ['exists'] })
      // Not every page is one of this manifest.
      if (kind === 'data') await t.rejects(over, { message: /old holds a mixture until/ })
      else await over.catch(() => {})

      renameSync(join(path, name), join(all.folder, `moved-${kind}-${isRebuilt}`))
      const after = await openRepository(path)
      t.not((await verified({ repository: after })).damage.length, 0, `${kind}: now it is lost`)
      if (isRebuilt) await rebuildIndex({ repository: after }).result
      const healing = await backedUp({
        source: all.volume,
        repository: after,
        volume: 'vm',
        full: true,
      })
      t.not(healing.bytes.written, 0)
      await rebuildIndex({ repository: after }).result
      t.equal(await isRestored(all, after), '', `${kind}: the old manifest is whole again`)
      const left = (await verified({ repository: after, manifests: [all.manifest] })).damage
      t.strictSame(left, [], kind)
      await repository[Symbol.asyncDispose]()
      await after[Symbol.asyncDispose]()
      rmSync(path, { recursive: true })
    }
  }
})

t.test('lost packs heal with the next full backup, and no other help', async t => {
  const all = await scene(t)
  for (const kinds of [['page'], ['data'], ['data', 'page']] as const) {
    // Segments are looked through in the order of their names, which is another each time.
    for (let time = 0; time < 4; time += 1) {
      const path = copyRepository(all.path, join(all.folder, 'spoilt'))
      for (const kind of kinds) objectsByKind(path)[kind].forEach(name => rmSync(join(path, name)))
      const repository = await openRepository(path)
      await backedUp({ source: all.volume, repository, volume: 'vm', full: true })
      t.equal(await isRestored(all, repository), '', `${kinds.join(' and ')}: restored`)
      await repository[Symbol.asyncDispose]()
      rmSync(path, { recursive: true })
    }
  }
})

t.test('what is carried is still there, or all of the volume is read and stored anew', async t => {
  const all = await scene(t)
  for (const kind of ['data', 'page'] as const) {
    const path = copyRepository(all.path, join(all.folder, 'spoilt'))
    for (const name of objectsByKind(path)[kind]) rmSync(join(path, name))
    const repository = await openRepository(path)
    const changes = extentChanges({ extents: [] })
    const options = { source: all.volume, repository, volume: 'vm', parent: all.manifest }
    const job = backup({ ...options, changes })
    const fallbacks: string[] = []
    for await (const event of job.events) {
      if (event.type === 'fallback') fallbacks.push(event.message)
    }
    const result = await job.result
    t.match(result, { mode: 'rescan', requested: 'incremental', reason: 'damaged' }, kind)
    t.match(fallbacks, [/incremental was asked for.*rescan.*lost/], kind)
    const target = join(all.folder, 'target')
    rmSync(target, { force: true })
    await restored({ repository, manifest: idOf(result), target })
    t.equal(await cmp(all.volume, target), '', kind)
    await repository[Symbol.asyncDispose]()
    rmSync(path, { recursive: true })
  }
})

t.test('a chunk of which one copy is bad is taken from another', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const volume = join(folder, 'volume')
  await makeVolume(volume, { bytes: 2 * MiB, seed: 3 })
  // Two jobs that began before either had published: both store all of it.
  const repositories = [await makeRepository(t, path, SIZES), await openRepository(path)]
  const results = await Promise.all(
    repositories.map((repository, nth) =>
      backedUp({ source: volume, repository, volume: `vm-${nth}`, bytesPerSecond: 4 * MiB }),
    ),
  )
  t.equal(results[0]?.bytes.stored, results[1]?.bytes.stored, 'there are two copies')
  for (const name of objectsByKind(path).data) {
    const repository = await openRepository(path)
    const spoil = () =>
      flipByte(join(path, name), packParts(readFileSync(join(path, name)))[ROTTEN] ?? 0)
    const before = readFileSync(join(path, name))
    for (const harm of [
      spoil,
      () => truncateSync(join(path, name), 4096),
      () => rmSync(join(path, name)),
    ]) {
      harm()
      for (const result of results) {
        const target = join(folder, 'target')
        rmSync(target, { force: true })
        await t.resolves(restored({ repository, manifest: idOf(result), target }))
        t.equal(await cmp(volume, target), '')
      }
      t.not((await verified({ repository, packs: true })).damage.length, 0, 'and it is not hidden')
      writeFileSync(join(path, name), before)
    }
    await repository[Symbol.asyncDispose]()
  }
  await repositories[1]?.[Symbol.asyncDispose]()
})

t.test('a chunk is not called known whose pack is gone or cut', async t => {
  const all = await scene(t)
  for (const harm of [
    (path: string) => rmSync(path),
    (path: string) => truncateSync(path, 4096),
    (path: string) => truncateSync(path, 0),
  ]) {
    const path = copyRepository(all.path, join(all.folder, 'spoilt'))
    objectsByKind(path).data.forEach(name => harm(join(path, name)))
    const repository = await openRepository(path)
    const again = await backedUp({ source: all.volume, repository, volume: 'vm', full: true })
    t.equal(again.bytes.deduplicated + again.bytes.zero + again.bytes.stored, again.bytes.volume)
    const target = join(all.folder, 'target')
    rmSync(target, { force: true })
    await restored({ repository, manifest: idOf(again), target })
    t.equal(await cmp(all.volume, target), '')
    await repository[Symbol.asyncDispose]()
    rmSync(path, { recursive: true })
  }
})
