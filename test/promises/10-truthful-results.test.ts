/** Promise 10: results tell the truth, and progress never runs backwards. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { backup } from '../../src/backup.js'
import type { ProgressEvent } from '../../src/core/progress.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { flipByte, objectsByKind, packParts } from '../support/damage.js'
import {
  backedUp,
  idOf,
  inventory,
  makeRepository,
  objectsOf,
  reopen,
  restored,
  verified,
} from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import {
  bitmapOfWrites,
  changeVolume,
  contentOf,
  KiB,
  makeVolume,
  MiB,
  punchHole,
  resizeVolume,
  write,
} from '../support/volumes.js'

const CHUNK = 64 * KiB
/** The part of a pack in which damage is a loss. */
const STORED = 'stored bytes'

/** Bytes of every file below a folder. */
async function sizesBelow(folder: string): Promise<Map<string, number>> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = names.filter(entry => entry.isFile())
  const paths = files.map(({ parentPath, name }) => join(parentPath, name))
  return new Map(
    await Promise.all(paths.map(async path => [path, (await stat(path)).size] as const)),
  )
}

t.test('every byte has one outcome, and written is every new object', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  const bytes = 24 * MiB + 512
  await makeVolume(source, { bytes, seed: 1 })
  const path = join(folder, 'r')
  const repository = await makeRepository(t, path)
  let parent: string | null = null
  for (const round of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
    // Enough that the segments of all rounds but the first are of one size.
    const writes = await changeVolume(source, { seed: round, writes: 8 })
    const bits = bitmapOfWrites(writes, { granularityBytes: CHUNK, volumeBytes: bytes })
    const changes = parent === null ? null : bitmapChanges({ bits, granularityBytes: CHUNK })
    const before = await sizesBelow(path)
    const packsBefore = objectsOf(path, 'packs').length
    const result = await backedUp({ source, repository, volume: 'v', changes, parent })
    const { volume, read, carried, zero, deduplicated, stored, written } = result.bytes
    t.equal(carried + zero + deduplicated + stored, volume, `round ${round}`)
    t.equal(volume, bytes)
    t.ok(read <= volume - carried)
    // Ten rounds make eight segments that are merged: what that removes was written all the same.
    const after = await sizesBelow(path)
    const made = [...after].filter(([name]) => !before.has(name)).map(([, size]) => size)
    const kept = made.reduce((sum, size) => sum + size, 0)
    const isMerging = [...before.keys()].some(name => !after.has(name))
    t.ok(isMerging ? written > kept : written === kept, `round ${round}: ${kept} bytes are new`)
    t.equal(result.packs, objectsOf(path, 'packs').length - packsBefore, `round ${round}: packs`)
    parent = result.manifest
  }
  t.ok(objectsOf(path, 'index').length < 10, 'segments were merged')
})

/** Chunks, by what a backup has to call them: s is stored, d deduplicated, z zero, and a hole is not read. */
const CHUNKS = 'ssddszsd..szssds'

/** A volume of these chunks: all that are stored differ, and all that are deduplicated are the first. */
async function knownVolume(path: string): Promise<void> {
  await writeFile(path, '')
  await resizeVolume(path, CHUNKS.length * CHUNK)
  for (const [slot, kind] of [...CHUNKS].entries()) {
    if (kind === '.') continue
    const content = kind === 'z' ? 'zero' : 'noise'
    const seed = kind === 's' ? slot : 0
    await write(path, { offset: slot * CHUNK, length: CHUNK }, { content, seed })
  }
}

const count = (kinds: string) => [...CHUNKS].filter(kind => kinds.includes(kind)).length * CHUNK

t.test('what is known of a volume is what its results say', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await knownVolume(source)
  const repository = await makeRepository(t, join(folder, 'r'))
  const full = await backedUp({ source, repository, volume: 'v' })
  const volume = CHUNKS.length * CHUNK
  const [read, zero] = [volume - count('.'), count('z.')]
  const [stored, deduplicated] = [count('s'), count('d')]
  t.match(full.bytes, { volume, read, carried: 0, zero, stored, deduplicated })
  const { chunks, bytes, damage } = await verified({ repository })
  t.strictSame({ chunks, bytes, damage }, { chunks: stored / CHUNK, bytes: stored, damage: [] })

  const again = await backedUp({ source, repository, volume: 'v' })
  const known = { read, carried: 0, zero, stored: 0, deduplicated: stored + deduplicated }
  t.match(again.bytes, known, 'what the repository has is not stored again')
})

t.test('a restore says what it did', async t => {
  const folder = t.testdir()
  const [source, target] = [join(folder, 'v.img'), join(folder, 'target')]
  await knownVolume(source)
  const repository = await makeRepository(t, join(folder, 'r'))
  const onto = idOf(await backedUp({ source, repository, volume: 'v' }))
  const volume = CHUNKS.length * CHUNK
  const made = await restored({ repository, manifest: onto, target })
  const written = count('sd')
  t.match(made, { bytes: { volume, written, zero: volume - written, unchanged: 0, compared: 0 } })
  t.match(made, { onto: null, readBack: false, dryRun: false, untouchedTailBytes: 0 })
  t.ok(made.bytes.read >= count('s'), 'of a chunk that is there often, one copy is read')

  await write(source, { offset: 5 * CHUNK, length: CHUNK }, { content: 'noise', seed: 55 })
  await punchHole(source, { offset: 0, length: 2 * CHUNK })
  const manifest = idOf(await backedUp({ source, repository, volume: 'v' }))
  const options = { repository, manifest, target, onto, force: ['exists'], readBack: true } as const
  const difference = { written: CHUNK, zero: 2 * CHUNK, unchanged: volume - 3 * CHUNK }
  const compared = volume - 3 * CHUNK
  const dry = await restored({ ...options, dryRun: true })
  t.match(dry, { onto, readBack: false, dryRun: true, bytes: { ...difference, read: 0, compared } })
  const done = await restored(options)
  t.match(done, { onto, readBack: true, dryRun: false, bytes: { ...difference, compared } })
})

t.test('the result and the manifest say the mode, and why it is another', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: 4 * MiB, seed: 2 })
  const repository = await makeRepository(t, join(folder, 'r'))
  const full = await backedUp({ source, repository, volume: 'v', checkpoint: 'one' })
  t.match(full, { mode: 'full', requested: 'full', reason: null, audit: { slots: 0, bytes: 0 } })
  t.match(full, { parent: null, checkpoint: 'one', dryRun: false })
  await resizeVolume(source, 5 * MiB)
  const bits = new Uint8Array(10)
  const changes = bitmapChanges({ bits, granularityBytes: CHUNK, since: 'one' })
  const job = backup({ source, repository, volume: 'v', changes })
  const events = []
  for await (const event of job.events) events.push(event)
  const rescan = await job.result
  t.match(rescan, { mode: 'rescan', requested: 'incremental', reason: 'resized' })
  t.match(rescan, { parent: full.manifest, checkpoint: null, dryRun: false })
  t.match(
    events.filter(({ type }) => type === 'fallback'),
    [{ requested: 'incremental', mode: 'rescan', reason: 'resized' }],
  )
  const manifest = await (await reopen(t, join(folder, 'r'))).resolve('latest', 'v')
  t.match(manifest, { id: rescan.manifest, root: rescan.root, mode: 'rescan', reason: 'resized' })
  t.match(manifest.writer, /^mover [0-9]+\.[0-9]+\.[0-9]+$/)
  t.equal(manifest.writer, rescan.writer)

  const before = inventory(join(folder, 'r'))
  const dry = await backedUp({ source, repository, volume: 'v', dryRun: true })
  t.match(dry, { manifest: null, root: null, packs: 0, dryRun: true, bytes: { written: 0 } })
  t.strictSame(inventory(join(folder, 'r')), before, 'a dry run is one')
})

t.test('progress never runs backwards and ends at the total', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await writeFile(source, contentOf('noise', 3, 48 * MiB))
  const repository = await makeRepository(t, join(folder, 'r'))
  const startedMs = performance.now()
  const job = backup({ source, repository, volume: 'v', bytesPerSecond: 40 * MiB })
  const progress: ProgressEvent[] = []
  for await (const event of job.events) if (event.type === 'progress') progress.push(event)
  const { seconds } = await job.result
  const elapsed = (performance.now() - startedMs) / 1000
  t.ok(seconds <= elapsed && seconds > elapsed / 2, `${seconds} s of ${elapsed} s`)
  t.ok(progress.length >= 3, `${progress.length} events`)
  for (const [index, event] of progress.entries()) {
    const before = progress[index - 1]
    if (before === undefined) continue
    t.ok(event.bytesDone >= before.bytesDone && event.bytesTotal >= before.bytesTotal)
    for (const outcome of ['read', 'zero', 'deduplicated', 'stored', 'written'] as const) {
      t.ok((event.bytes?.[outcome] ?? -1) >= (before.bytes?.[outcome] ?? 0), outcome)
    }
  }
  t.equal(progress.at(-1)?.bytesDone, 48 * MiB)
})

t.test('with --json the last line is the result, or the error', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: 2 * MiB, seed: 4 })
  const repository = join(folder, 'r')
  t.equal((await runMoverJson(['init', repository])).lines.at(-1)?.type, 'result')
  const done = await runMoverJson(['backup', source, '--volume', 'v'], { repository })
  t.match(done.lines.at(-1), { type: 'result', operation: 'backup', mode: 'full', reason: null })
  t.equal(done.lines.filter(({ type }) => type === 'result' || type === 'error').length, 1)
  const failed = await runMoverJson(['backup', join(folder, 'none'), '--volume', 'v'], {
    repository,
  })
  t.match(failed.lines.at(-1), { type: 'error', code: 'SOURCE_UNUSABLE' })
  t.equal(failed.code, 4)
  t.equal(failed.lines.filter(({ type }) => type === 'result' || type === 'error').length, 1)
  t.equal(await readFile(source).then(({ length }) => length), 2 * MiB)

  const [pack = ''] = objectsByKind(repository).data
  flipByte(join(repository, pack), packParts(await readFile(join(repository, pack)))[STORED] ?? 0)
  const damaged = await runMoverJson(['verify'], { repository })
  t.match(damaged.lines.at(-1), { type: 'result', operation: 'verify', damage: [{ kind: 'pack' }] })
  t.equal(damaged.code, 7, 'what is damaged is a result, but not a good end')
})
