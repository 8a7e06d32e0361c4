/** An index made anew, whatever state it was in, as often as one likes, and beside what else runs. */
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { native } from '../src/native/addon.js'
import { rebuildIndex } from '../src/rebuild-index.js'
import type { Repository } from '../src/repository.js'
import { flipByte } from './support/damage.js'
import {
  backedUp,
  idOf,
  makeRepository,
  objectsOf,
  reopen,
  reopenWith,
  restored,
  verified,
} from './support/repository.js'
import { changeVolume, KiB, makeVolume, MiB } from './support/volumes.js'

/** Three pages of rows: an index of some thousand chunks has several segments. */
const SEGMENT_BYTES_MAX = 24 * KiB

interface Scene {
  readonly path: string
  readonly volume: string
  readonly manifest: string
  readonly repository: Repository
}

/** A repository with a volume in it, opened so that rebuilding makes several segments. */
async function scene(t: Test): Promise<Scene> {
  const folder = t.testdir()
  const [path, volume] = [join(folder, 'repository'), join(folder, 'volume')]
  const sizes = { chunkBytes: 16 * KiB, packBytes: MiB }
  const whole = await makeRepository(t, path, sizes)
  await makeVolume(volume, { bytes: 24 * MiB, seed: 5 })
  const manifest = idOf(await backedUp({ source: volume, repository: whole, volume: 'v' }))
  const repository = await reopenWith(t, path, { segmentBytesMax: SEGMENT_BYTES_MAX })
  return { path, volume, manifest, repository }
}

/** By the handle that has seen it all and by one that has not: the backup restores, nothing is damaged. */
async function isWhole(t: Test, { path, volume, manifest, repository }: Scene, when: string) {
  for (const handle of [repository, await reopen(t, path)]) {
    await isRestored(t, { volume, manifest, repository: handle }, when)
    t.strictSame((await verified({ repository: handle })).damage, [], when)
  }
}

async function isRestored(
  t: Test,
  { volume, manifest, repository }: Omit<Scene, 'path'>,
  when = volume,
): Promise<void> {
  const target = `${volume}-target`
  await restored({ repository, manifest, target, force: ['exists'] })
  t.ok(readFileSync(volume).equals(readFileSync(target)), `${when}: restored`)
}

function indexOf(path: string): string[] {
  return objectsOf(path, 'index')
}

/** The second time, the last segment called the others replaced, and the next reader dropped them. */
t.test('an index of several segments is made anew again and again', async t => {
  const all = await scene(t)
  for (const round of [1, 2, 3, 4]) {
    const before = indexOf(all.path)
    const { segments } = await rebuildIndex({ repository: all.repository }).result
    const after = indexOf(all.path)
    t.equal(after.length, segments)
    t.ok(segments >= 3, `${segments} segments`)
    const same = after.filter(name => before.includes(name))
    if (round > 1) t.equal(same.length, segments - 1, 'all but the last come out as they were')
    await isWhole(t, all, `round ${round}`)
  }
  const again = await backedUp({ source: all.volume, repository: all.repository, volume: 'v' })
  t.equal(again.bytes.stored, 0, 'and every chunk is known')
})

t.test('a segment that wrongly says that others are replaced hides nothing, and goes', async t => {
  const all = await scene(t)
  await rebuildIndex({ repository: all.repository }).result
  const before = indexOf(all.path)
  await using session = await all.repository.beginSession('write', null)
  const { segments } = await native(
    addon =>
      addon.writePackSegments(
        Buffer.from(all.repository.id, 'hex'),
        [],
        `${session.tempPrefix}lie.`,
        before,
        SEGMENT_BYTES_MAX,
      ),
    'store',
  )
  const [liar] = segments
  if (liar === undefined) throw new Error('it says what it replaces')
  copyFileSync(liar.tempPath, join(all.path, 'index', liar.id))
  await isWhole(t, all, 'while it is there')
  for (const round of [1, 2]) {
    await rebuildIndex({ repository: all.repository }).result
    t.notOk(indexOf(all.path).includes(liar.id))
    await isWhole(t, all, `rebuilt ${round}`)
  }
})

/** The name was taken, by the damaged segment: it stayed. */
t.test('a damaged segment heals, also where it is made again under its name', async t => {
  const all = await scene(t)
  await rebuildIndex({ repository: all.repository }).result
  for (const at of [40, 5000]) {
    for (const nth of [0, 1, 2]) {
      flipByte(join(all.path, 'index', indexOf(all.path)[nth] ?? ''), at)
      await rebuildIndex({ repository: all.repository }).result
      await isWhole(t, all, `byte ${at} of the segment ${nth}`)
    }
  }
  const bytes = indexOf(all.path).map(id => readFileSync(join(all.path, 'index', id)).length)
  t.ok(bytes.every(length => length <= SEGMENT_BYTES_MAX))
})

/** One of the two found the name of its first segment taken, and failed. */
t.test('many at once make one index', async t => {
  const all = await scene(t)
  const repositories = [all.repository]
  while (repositories.length < 4) {
    repositories.push(await reopenWith(t, all.path, { segmentBytesMax: SEGMENT_BYTES_MAX }))
  }
  for (const round of [1, 2, 3]) {
    await Promise.all(repositories.map(async repository => rebuildIndex({ repository }).result))
    await isWhole(t, all, `round ${round}`)
  }
})

t.test('backups publish and merge meanwhile, and what they store is found', async t => {
  const all = await scene(t)
  const backups = [all]
  const writer = await reopen(t, all.path)
  const busy = { isDone: false }
  const rebuilding = (async () => {
    let rebuilds = 0
    for (; !busy.isDone; rebuilds += 1) {
      await rebuildIndex({ repository: all.repository }).result
    }
    return rebuilds
  })()
  try {
    for (let seed = 1; seed <= 12; seed += 1) {
      const volume = `${all.volume}-${seed}`
      await makeVolume(volume, { bytes: 256 * KiB, seed })
      await changeVolume(volume, { seed, writes: 3 })
      const result = await backedUp({ source: volume, repository: writer, volume: `v${seed}` })
      backups.push({ ...all, volume, manifest: idOf(result) })
    }
  } finally {
    busy.isDone = true
  }
  t.ok((await rebuilding) > 1)
  for (const backup of backups) await isRestored(t, backup)
  await isWhole(t, all, 'at the end')
  await rebuildIndex({ repository: all.repository }).result
  for (const backup of backups) await isRestored(t, backup)
  await isWhole(t, all, 'made anew')
})
