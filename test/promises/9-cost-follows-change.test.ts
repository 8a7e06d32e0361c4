/** Promise 9: time, memory and bytes of an incremental depend on what changed, not on the volume. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { StatedExtent } from '../../src/core/extent.js'
import { bitmapChanges, extentChanges } from '../../src/source/change-source.js'
import { seededRandom } from '../support/random.js'
import { backedUp, makeRepository, objectsOf } from '../support/repository.js'
import { moverScript } from '../support/run-mover.js'
import {
  bitmapOfWrites,
  changeVolume,
  contentOf,
  GiB,
  KiB,
  makeVolume,
  MiB,
  TiB,
} from '../support/volumes.js'

const CHUNK = 64 * KiB

t.test('an incremental reads what changed and its audit, and nothing else', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  const bytes = 96 * MiB
  await makeVolume(source, { bytes, seed: 1 })
  const path = join(folder, 'r')
  const repository = await makeRepository(t, path)
  const full = await backedUp({ source, repository, volume: 'v' })
  const index = objectsOf(path, 'index')
  const writes = await changeVolume(source, { seed: 2, writes: 10 })
  const bits = bitmapOfWrites(writes, { granularityBytes: CHUNK, volumeBytes: bytes })
  const dirty = bits.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
  const changes = bitmapChanges({ bits, granularityBytes: CHUNK })
  const result = await backedUp({ source, repository, volume: 'v', changes, parent: full.manifest })
  t.equal(result.mode, 'incremental')
  t.equal(result.bytes.read, dirty * CHUNK)
  t.equal(result.bytes.carried, bytes - dirty * CHUNK)
  t.equal(result.audit.slots, 256 + Math.ceil((dirty * 5) / 100))
  const left = objectsOf(path, 'index')
  t.ok(
    index.every(name => left.includes(name)),
    'the index of what was there is not written again',
  )
})

t.test('20 chunks changed all over 512 MiB full of data cost at most 15 %', async t => {
  const chunks = (512 * MiB) / CHUNK
  const source = await sparseFile(t, 512 * MiB)
  await using file = await open(source, 'r+')
  // One chunk's content everywhere, so that the tree is full and the packs are nearly empty.
  const noise = contentOf('noise', 6, CHUNK)
  const piece = Buffer.concat(Array.from({ length: 64 }, () => noise))
  for (let slot = 0; slot < chunks; slot += 64) {
    await file.write(piece, 0, piece.length, slot * CHUNK)
  }
  const repository = await makeRepository(t, join(t.testdir(), 'r'))
  const full = await backedUp({ source, repository, volume: 'v' })
  const slots = await changeChunks(source, { chunks, count: 20, seed: 6 })
  const changes = extentChanges({ extents: slots.map(dataAt) })
  const result = await backedUp({ source, repository, volume: 'v', changes, parent: full.manifest })
  t.equal(result.bytes.stored, 20 * CHUNK)
  const share = (result.bytes.written - result.bytes.stored) / (20 * CHUNK)
  t.ok(share <= 0.15, `pages, segment and manifest are ${(share * 100).toFixed(1)} %`)
})

t.test('10,000 chunks changed all over 1 TiB cost at most 15 % of their plain bytes', async t => {
  const source = await sparseFile(t, TiB)
  const folder = t.testdir()
  const repository = await makeRepository(t, join(folder, 'r'))
  const full = await backedUp({ source, repository, volume: 'v' })
  const slots = await changeChunks(source, { chunks: TiB / CHUNK, count: 10_000, seed: 3 })
  const changes = extentChanges({ extents: slots.map(dataAt) })
  const result = await backedUp({ source, repository, volume: 'v', changes, parent: full.manifest })
  t.equal(result.bytes.stored, 10_000 * CHUNK)
  // Their bytes shrink to nothing, so that it is frames, pages and segments that are weighed.
  const share = result.bytes.written / (10_000 * CHUNK)
  t.ok(share <= 0.15, `pages, segments and manifest are ${(share * 100).toFixed(1)} %`)
})

t.test('nothing changed on 16 TiB costs at most 64 KiB and bounded memory', async t => {
  const source = await sparseFile(t, 16 * TiB)
  const folder = t.testdir()
  const path = join(folder, 'r')
  const repository = await makeRepository(t, path)
  await using file = await open(source, 'r+')
  await file.write(contentOf('noise', 5, 4 * MiB), 0, 4 * MiB, 9 * TiB)
  const full = await backedUp({ source, repository, volume: 'v' })
  const map = join(folder, 'none.json')
  await writeFile(map, '[]')
  const before = (await backedUp({ source, repository, volume: 'v', dryRun: true })).bytes
  t.equal(before.read, 4 * MiB)
  const args = ['backup', source, '--volume', 'v', '--changes', `extents:${map}`]
  const { last, peakBytes } = await watched([
    ...args,
    '--parent',
    full.manifest ?? '',
    '--repo',
    path,
  ])
  t.match(last, { type: 'result', mode: 'incremental', bytes: { read: 0, carried: 16 * TiB } })
  t.ok(last.seconds <= 20, `${last.seconds} s: what is carried is not walked slot by slot`)
  t.ok(last.bytes.written <= 64 * KiB, `${last.bytes.written} bytes were written`)
  t.ok(peakBytes <= 400 * MiB, `${Math.round(peakBytes / MiB)} MiB of anonymous and shared memory`)
})

t.test('a full backup of some GiB stays within its memory, whatever the workers', async t => {
  const source = await sparseFile(t, 3 * GiB)
  const folder = t.testdir()
  const path = join(folder, 'r')
  await makeRepository(t, path)
  await using file = await open(source, 'r+')
  for (let gib = 0; gib < 3; gib += 1) {
    await file.write(contentOf('noise', gib, 128 * MiB), 0, 128 * MiB, gib * GiB)
  }
  const args = ['backup', source, '--volume', 'v', '--workers', '8', '--repo', path]
  const { last, peakBytes } = await watched(args)
  t.equal(last.bytes.stored, 3 * 128 * MiB)
  t.ok(peakBytes <= 400 * MiB, `${Math.round(peakBytes / MiB)} MiB of anonymous and shared memory`)
})

/** Writes another number into each of some chunks, seeded and all over the volume: no two are alike. */
async function changeChunks(
  path: string,
  options: { readonly chunks: number; readonly count: number; readonly seed: number },
): Promise<number[]> {
  const random = seededRandom(options.seed)
  const slots = new Set<number>()
  while (slots.size < options.count) slots.add(Math.floor(random() * options.chunks))
  await using file = await open(path, 'r+')
  const number = Buffer.alloc(8)
  for (const slot of slots) {
    number.writeDoubleLE(slot + 1)
    await file.write(number, 0, number.length, slot * CHUNK)
  }
  return [...slots].sort((a, b) => a - b)
}

function dataAt(slot: number): StatedExtent {
  return { offset: slot * CHUNK, length: CHUNK, state: 'data' }
}

interface LastLine {
  readonly seconds: number
  readonly bytes: { readonly written: number; readonly stored: number }
}

/** Runs the binary and looks fifty times a second at what memory it alone holds. */
async function watched(args: readonly string[]): Promise<{ last: LastLine; peakBytes: number }> {
  const child = spawn(process.execPath, [moverScript, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let peakBytes = 0
  const look = async () => {
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
    const of = (field: string) =>
      Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0)
    peakBytes = Math.max(peakBytes, (of('RssAnon') + of('RssShmem')) * KiB)
  }
  const timer = setInterval(() => void look(), 20)
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  await once(child, 'close')
  clearInterval(timer)
  return { last: JSON.parse(output.trim().split('\n').at(-1) ?? '{}') as LastLine, peakBytes }
}

/** A sparse file of any size: ext4 ends short of 16 TiB, the memory file system does not. */
async function sparseFile(t: Test, bytes: number): Promise<string> {
  const path = `/dev/shm/mover-test-${process.pid}-${bytes}.img`
  await using file = await open(path, 'w')
  await file.truncate(bytes)
  t.teardown(() => unlink(path))
  return path
}
