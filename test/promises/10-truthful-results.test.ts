/** Promise 10: results tell the truth, and progress never runs backwards. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { backup } from '../../src/backup.js'
import type { ProgressEvent } from '../../src/core/progress.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { backedUp, makeRepository, reopen } from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import {
  bitmapOfWrites,
  changeVolume,
  contentOf,
  KiB,
  makeVolume,
  MiB,
  resizeVolume,
} from '../support/volumes.js'

const CHUNK = 64 * KiB

/** Bytes of all files below a folder. */
async function bytesBelow(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = names.filter(entry => entry.isFile())
  const sizes = await Promise.all(files.map(({ parentPath, name }) => stat(join(parentPath, name))))
  return sizes.reduce((sum, { size }) => sum + size, 0)
}

t.test('every byte has one outcome, and written is what the repository grew by', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  const bytes = 24 * MiB + 512
  await makeVolume(source, { bytes, seed: 1 })
  const path = join(folder, 'r')
  const repository = await makeRepository(t, path)
  let parent: string | null = null
  for (const round of [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) {
    const writes = await changeVolume(source, { seed: round, writes: 3 })
    const bits = bitmapOfWrites(writes, { granularityBytes: CHUNK, volumeBytes: bytes })
    const changes = parent === null ? null : bitmapChanges({ bits, granularityBytes: CHUNK })
    const before = await bytesBelow(path)
    const result = await backedUp({ source, repository, volume: 'v', changes, parent })
    const { volume, read, carried, zero, deduplicated, stored, written } = result.bytes
    t.equal(carried + zero + deduplicated + stored, volume, `round ${round}`)
    t.equal(volume, bytes)
    t.ok(read <= volume - carried)
    // Ten rounds make eight segments that are merged: what went away is taken off.
    t.equal(written, (await bytesBelow(path)) - before, `round ${round}: growth`)
    parent = result.manifest
  }
})

t.test('the result and the manifest say the mode, and why it is another', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: 4 * MiB, seed: 2 })
  const repository = await makeRepository(t, join(folder, 'r'))
  const full = await backedUp({ source, repository, volume: 'v', checkpoint: 'one' })
  t.match(full, { mode: 'full', requested: 'full', reason: null, audit: { slots: 0 } })
  await resizeVolume(source, 5 * MiB)
  const bits = new Uint8Array(10)
  const changes = bitmapChanges({ bits, granularityBytes: CHUNK, since: 'one' })
  const job = backup({ source, repository, volume: 'v', changes })
  const events = []
  for await (const event of job.events) events.push(event)
  const rescan = await job.result
  t.match(rescan, { mode: 'rescan', requested: 'incremental', reason: 'resized' })
  t.match(
    events.filter(({ type }) => type === 'fallback'),
    [{ requested: 'incremental', mode: 'rescan', reason: 'resized' }],
  )
  const manifest = await (await reopen(t, join(folder, 'r'))).resolve('latest', 'v')
  t.match(manifest, { id: rescan.manifest, root: rescan.root, mode: 'rescan', reason: 'resized' })
  t.match(manifest.writer, /^mover [0-9]+\.[0-9]+\.[0-9]+$/)
  t.equal(manifest.writer, rescan.writer)
})

t.test('progress never runs backwards and ends at the total', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await writeFile(source, contentOf('noise', 3, 48 * MiB))
  const repository = await makeRepository(t, join(folder, 'r'))
  const job = backup({ source, repository, volume: 'v', bytesPerSecond: 40 * MiB })
  const progress: ProgressEvent[] = []
  for await (const event of job.events) if (event.type === 'progress') progress.push(event)
  await job.result
  t.ok(progress.length >= 3, `${progress.length} events`)
  for (const [index, event] of progress.entries()) {
    const before = progress[index - 1]
    if (before === undefined) continue
    t.ok(event.bytesDone >= before.bytesDone && event.bytesTotal >= before.bytesTotal)
    for (const outcome of ['read', 'zero', 'deduplicated', 'stored', 'written'] as const) {
      t.ok(event.bytes[outcome] >= before.bytes[outcome], outcome)
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
})
