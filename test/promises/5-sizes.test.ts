/**
 * Promise 5. Any size in bytes, and any granularity against any size of chunks: what comes back is
 * the volume to its last byte, no byte more; and the same bytes have the same root, whatever the way.
 */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { cat } from '../../src/cat.js'
import type { Extent } from '../../src/core/extent.js'
import type { Repository } from '../../src/repository.js'
import { bitmapChanges, extentChanges, type ChangeSource } from '../../src/source/change-source.js'
import { backedUp, idOf, makeRepository, restored, verified } from '../support/repository.js'
import { rootOfFile } from '../support/tree-root.js'
import {
  attachLoop,
  bitmapOfWrites,
  changeVolume,
  cmp,
  contentOf,
  GiB,
  KiB,
  makeSparseVolume,
  makeVolume,
  MiB,
  noLoopDevices,
  resizeVolume,
  TiB,
  write,
} from '../support/volumes.js'

const execute = promisify(execFile)

const CHUNK_BYTES = 16 * KiB

/** Writes the volume to a file by `cat`. */
async function catTo(repository: Repository, manifest: string, path: string, range?: Extent) {
  await using file = await open(path, 'w')
  await using job = cat({ repository, manifest, output: file.fd, ...(range && { range }) })
  await job.result
}

/** That every way out gives the volume: cat, a new file, a file onto another state, a larger device. */
async function checkAllWaysOut(
  t: Test,
  parts: {
    readonly repository: Repository
    readonly manifest: string
    readonly source: string
    readonly dir: string
  },
): Promise<void> {
  const { repository, manifest, source, dir } = parts
  const { size } = statSync(source)
  const file = (name: string) => join(dir, `${name}-${manifest.slice(0, 8)}`)
  await catTo(repository, manifest, file('cat'))
  t.equal(await cmp(source, file('cat')), '', 'by cat')
  await restored({ repository, manifest, target: file('new'), readBack: true })
  t.equal(await cmp(source, file('new')), '', 'to a new file')
  writeFileSync(file('old'), Buffer.alloc(70_001, 0xff))
  const force = ['exists'] as const
  await restored({ repository, manifest, target: file('old'), force, onto: 'auto' })
  t.equal(await cmp(source, file('old')), '', 'over a file')
  if (noLoopDevices !== false || size % 512 !== 0) return
  const tail = Buffer.alloc(5 * 512, 0xff)
  writeFileSync(file('device'), Buffer.alloc(size + tail.length, 0xff))
  const target = await attachLoop(t, file('device'))
  const { untouchedTailBytes } = await restored({ repository, manifest, target, readBack: true })
  t.equal(untouchedTailBytes, tail.length)
  t.equal(await cmp(source, target, { bytes: size }), '', 'to a device')
  t.ok(readFileSync(file('device')).subarray(size).equals(tail), 'the rest of the device is left')
}

const sizes = [
  { name: 'nothing', bytes: 0 },
  { name: 'a byte', bytes: 1 },
  { name: 'a sector', bytes: 512 },
  { name: 'a byte less than a page', bytes: 4095 },
  { name: 'a chunk but for a sector', bytes: CHUNK_BYTES - 512 },
  { name: 'a chunk', bytes: CHUNK_BYTES },
  { name: 'a chunk and a sector', bytes: CHUNK_BYTES + 512 },
  { name: '64 KiB and a byte', bytes: 65_537 },
  { name: 'a prime number of sectors', bytes: 1009 * 512 },
  { name: 'a tree page of chunks', bytes: 128 * CHUNK_BYTES },
  { name: 'a tree page of chunks and a byte', bytes: 128 * CHUNK_BYTES + 1 },
]

for (const [seed, { name, bytes }] of sizes.entries()) {
  t.test(`a volume of ${name} (${bytes} bytes), seed ${seed}`, async t => {
    const dir = t.testdir({})
    const source = join(dir, 'volume')
    await makeVolume(source, { bytes, seed })
    const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: CHUNK_BYTES })
    const options = { source, repository, volume: 'v' }
    const full = await backedUp({ ...options, checkpoint: 'ck-1' })
    t.match(full, {
      mode: 'full',
      bytes: { volume: bytes },
      root: await rootOfFile(source, CHUNK_BYTES),
    })
    await checkAllWaysOut(t, { repository, manifest: idOf(full), source, dir })

    const writes = await changeVolume(source, { seed: 100 + seed, writes: 4 })
    const geometry = { granularityBytes: 4096, volumeBytes: bytes }
    const bits = bitmapOfWrites(writes, geometry)
    const changes = bitmapChanges({ bits, granularityBytes: 4096, since: 'ck-1' })
    const incremental = await backedUp({ ...options, changes })
    t.match(incremental, { mode: 'incremental', reason: null })
    const rescan = await backedUp(options)
    const fresh = await makeRepository(t, join(dir, 'fresh'), { chunkBytes: CHUNK_BYTES })
    const again = await backedUp({ source, repository: fresh, volume: 'w', readHoles: true })
    const root = await rootOfFile(source, CHUNK_BYTES)
    t.strictSame(
      [incremental, rescan, again].map(result => result.root),
      [root, root, root],
    )
    await checkAllWaysOut(t, { repository, manifest: idOf(incremental), source, dir })

    if (noLoopDevices === false && bytes % 512 === 0 && bytes > 0) {
      const device = await attachLoop(t, source)
      const ofDevice = await backedUp({ ...options, source: device })
      t.equal(ofDevice.root, root, 'read from a device')
      t.equal(ofDevice.bytes.stored, 0)
    }
    for (const how of [{}, { packs: true }, { independent: true }]) {
      t.strictSame((await verified({ repository, ...how })).damage, [])
    }
  })
}

t.test('a device with sectors of 4 KiB', { skip: noLoopDevices }, async t => {
  const dir = t.testdir({})
  const [source, target] = [join(dir, 'volume'), join(dir, 'target')]
  const bytes = 1009 * 4096
  await makeVolume(source, { bytes, seed: 40 })
  writeFileSync(target, Buffer.alloc(bytes, 0xff))
  const repository = await makeRepository(t, join(dir, 'repo'))
  const device = await attachLoop(t, source, { sectorBytes: 4096 })
  const result = await backedUp({ source: device, repository, volume: 'v' })
  t.equal(result.root, await rootOfFile(source, 64 * KiB))
  const onDevice = await attachLoop(t, target, { sectorBytes: 4096 })
  await restored({ repository, manifest: idOf(result), target: onDevice, readBack: true })
  t.equal(await cmp(source, target), '')
})

t.test('a volume that grows and shrinks between two backups', async t => {
  const dir = t.testdir({})
  const source = join(dir, 'volume')
  const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: CHUNK_BYTES })
  const steps = [0, 700, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 512, 2 * MiB + 1, 2 * MiB, 5000, 0, 513]
  await makeVolume(source, { bytes: 100_000, seed: 50 })
  await backedUp({ source, repository, volume: 'v', checkpoint: 'ck--1' })
  const held: { manifest: string; volume: string }[] = []
  for (const [step, bytes] of steps.entries()) {
    await resizeVolume(source, bytes)
    const writes = await changeVolume(source, { seed: 51 + step, writes: 3 })
    const geometry = { granularityBytes: 4096, volumeBytes: bytes }
    const bits = bitmapOfWrites(writes, geometry)
    const changes = bitmapChanges({ bits, granularityBytes: 4096, since: `ck-${step - 1}` })
    const options = { source, repository, volume: 'v', changes, checkpoint: `ck-${step}` }
    const result = await backedUp(options)
    t.match(result, { mode: 'rescan', reason: 'resized', bytes: { volume: bytes } })
    t.equal(result.root, await rootOfFile(source, CHUNK_BYTES), `${bytes} bytes`)
    copyFileSync(source, join(dir, `volume-${step}`))
    held.push({ manifest: idOf(result), volume: join(dir, `volume-${step}`) })
  }
  const target = join(dir, 'target')
  writeFileSync(target, Buffer.alloc(MiB, 0xff))
  for (const [step, { manifest, volume }] of held.entries()) {
    // From each size to the next: onto the state that the target holds by now.
    const onto = held[step - 1]?.manifest ?? 'auto'
    await restored({ repository, manifest, target, onto, force: ['exists'], readBack: true })
    t.equal(await cmp(volume, target), '', `${steps[step]} bytes`)
  }
})

const GRANULARITIES = [512, 4 * KiB, 64 * KiB, MiB]

for (const chunkBytes of [16 * KiB, 64 * KiB, MiB]) {
  t.test(`granules of 512 bytes to 1 MiB and chunks of ${chunkBytes}`, async t => {
    const dir = t.testdir({})
    const source = join(dir, 'volume')
    const volumeBytes = 10_007 * 512
    await makeVolume(source, { bytes: volumeBytes, seed: 60 })
    const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes })
    const options = { source, repository, volume: 'v', readHoles: true }
    await backedUp({ ...options, checkpoint: 'ck-1' })
    const writes = await changeVolume(source, { seed: 61, writes: 6 })
    // The last granule, and the last chunk, are short.
    writes.push(await write(source, { offset: volumeBytes - 512, length: 512 }, NOISE))
    const root = await rootOfFile(source, chunkBytes)
    for (const granularityBytes of GRANULARITIES) {
      t.test(`granules of ${granularityBytes}`, async t => {
        const geometry = { granularityBytes, volumeBytes }
        const bits = bitmapOfWrites(writes, geometry)
        const changes = bitmapChanges({ bits, granularityBytes, since: 'ck-1' })
        const result = await backedUp({ ...options, changes })
        const read = touchedBytes(writes, { ...geometry, chunkBytes })
        t.match(result, {
          mode: /incremental|differential/,
          root,
          bytes: { read, carried: volumeBytes - read },
        })
        const target = join(dir, `restored-${granularityBytes}`)
        await restored({ repository, manifest: idOf(result), target })
        t.equal(await cmp(source, target), '')
      })
    }
  })
}

const NOISE = { content: 'noise', seed: 7 } as const

/** Bytes of the chunks that hold any byte of a granule in which something was written. */
function touchedBytes(
  writes: readonly Extent[],
  sizes: {
    readonly granularityBytes: number
    readonly chunkBytes: number
    readonly volumeBytes: number
  },
): number {
  const { granularityBytes, chunkBytes, volumeBytes } = sizes
  const slots = new Set<number>()
  for (const { offset, length } of writes) {
    const from = Math.floor(offset / granularityBytes) * granularityBytes
    const until = Math.ceil((offset + length) / granularityBytes) * granularityBytes
    const end = Math.min(until, volumeBytes)
    for (let slot = Math.floor(from / chunkBytes); slot * chunkBytes < end; slot += 1)
      slots.add(slot)
  }
  let bytes = 0
  for (const slot of slots) bytes += Math.min(chunkBytes, volumeBytes - slot * chunkBytes)
  return bytes
}

t.test('a file system is whole in every state that is restored', async t => {
  const dir = t.testdir({ files: {}, new: contentOf('noise', 1, 300_000).toString('latin1') })
  const [source, old] = [join(dir, 'volume'), join(dir, 'old')]
  for (let file = 0; file < 40; file += 1) {
    writeFileSync(
      join(dir, 'files', `${file}`),
      contentOf('noise', file, 20_000 * (1 + (file % 7))),
    )
  }
  await execute('mke2fs', ['-q', '-t', 'ext4', '-d', join(dir, 'files'), source, '16M'])
  const repository = await makeRepository(t, join(dir, 'repo'))
  const options = { source, repository, volume: 'v' }
  const first = idOf(await backedUp({ ...options, checkpoint: 'ck-1' }))
  copyFileSync(source, old)
  for (let file = 0; file < 40; file += 3) await debugfs(source, `rm /${file}`)
  for (let file = 0; file < 9; file += 1) await debugfs(source, `write ${dir}/new /new-${file}`)
  const writes = differences(readFileSync(old), readFileSync(source))
  const volumeBytes = statSync(source).size
  const bits = bitmapOfWrites(writes, { granularityBytes: 4096, volumeBytes })
  const changes = bitmapChanges({ bits, granularityBytes: 4096, since: 'ck-1' })
  const second = idOf(await backedUp({ ...options, changes }))

  const target = join(dir, 'restored')
  const steps = [
    { manifest: second, volume: source, onto: null },
    { manifest: first, volume: old, onto: second },
    { manifest: second, volume: source, onto: first },
    { manifest: first, volume: old, onto: 'auto' },
  ]
  for (const { manifest, volume, onto } of steps) {
    await restored({ repository, manifest, target, onto, force: ['exists'], readBack: true })
    t.equal(await cmp(volume, target), '')
    await t.resolves(execute('e2fsck', ['-fn', target]), 'e2fsck finds nothing')
  }
})

function debugfs(volume: string, command: string) {
  return execute('debugfs', ['-w', '-R', command, volume])
}

/** The granules of 4 KiB in which two volumes differ: here, a tracker is not what is tested. */
function differences(before: Buffer, after: Buffer): Extent[] {
  const extents: Extent[] = []
  for (let offset = 0; offset < after.length; offset += 4096) {
    const granule = after.subarray(offset, offset + 4096)
    if (granule.equals(before.subarray(offset, offset + 4096))) continue
    extents.push({ offset, length: granule.length })
  }
  return extents
}

/** Volumes of holes, of a size that nobody can read through: only their data may cost time. */
const hugeSizes = [
  { name: 'more than 4 GiB', bytes: 4 * GiB + 5 * 512, limitSeconds: 20 },
  { name: '16 TiB', bytes: 16 * TiB, limitSeconds: 30 },
  { name: '16 TiB and an odd number of bytes', bytes: 16 * TiB + 4097, limitSeconds: 30 },
  { name: 'the largest number of bytes', bytes: Number.MAX_SAFE_INTEGER, limitSeconds: 30 },
]

for (const { name, bytes, limitSeconds } of hugeSizes) {
  t.test(`a sparse volume of ${name}`, async t => {
    // On tmpfs: ext4 has no files of 16 TiB.
    const dir = mkdtempSync('/dev/shm/mover-sizes-')
    t.teardown(() => {
      rmSync(dir, { recursive: true })
    })
    const began = performance.now()
    const source = join(dir, 'volume')
    const places = [0, 2 * GiB - 4096, 4 * GiB - 512, bytes - 3 * MiB, bytes - 700]
    const data = places.map(offset => ({ offset, length: 700 }))
    await makeSparseVolume(source, { bytes, seed: 70, data })
    const repository = await makeRepository(t, join(dir, 'repo'))
    const options = { source, repository, volume: 'v' }
    const full = await backedUp({ ...options, checkpoint: 'ck-1' })
    t.match(full, { mode: 'full', bytes: { volume: bytes } })
    await checkSparse(t, { repository, manifest: idOf(full), source, data, dir })

    const writes = [
      await write(source, { offset: 4 * GiB - 600, length: 1200 }, NOISE),
      await write(source, { offset: bytes - 1, length: 1 }, NOISE),
      await write(source, { offset: Math.floor(bytes / 3), length: 5000 }, NOISE),
    ]
    const changes = bytes <= 17 * TiB ? bitmapSince(writes, bytes) : extentsSince(writes)
    const incremental = await backedUp({ ...options, changes })
    t.match(incremental, { mode: 'incremental', audit: { slots: 256 + 1 } })
    const rescan = await backedUp(options)
    t.equal(rescan.root, incremental.root)
    const fresh = await makeRepository(t, join(dir, 'fresh'))
    t.equal((await backedUp({ ...options, repository: fresh })).root, incremental.root)
    const all = [...data, ...writes]
    await checkSparse(t, { repository, manifest: idOf(incremental), source, data: all, dir })
    t.strictSame((await verified({ repository })).damage, [])
    t.strictSame((await verified({ repository, independent: true })).damage, [])
    const seconds = (performance.now() - began) / 1000
    t.ok(seconds < limitSeconds, `${seconds.toFixed(1)} s`)
  })
}

function bitmapSince(writes: readonly Extent[], volumeBytes: number): ChangeSource {
  const bits = bitmapOfWrites(writes, { granularityBytes: MiB, volumeBytes })
  return bitmapChanges({ bits, granularityBytes: MiB, since: 'ck-1' })
}

/** No bitmap is that large. */
function extentsSince(writes: readonly Extent[]): ChangeSource {
  const extents = writes.toSorted((a, b) => a.offset - b.offset)
  return extentChanges({
    extents: extents.map(extent => ({ ...extent, state: 'data' })),
    since: 'ck-1',
  })
}

/** That a restored file has the data where it was, and no blocks anywhere else. */
async function checkSparse(
  t: Test,
  parts: {
    readonly repository: Repository
    readonly manifest: string
    readonly source: string
    readonly data: readonly Extent[]
    readonly dir: string
  },
): Promise<void> {
  const { repository, manifest, source, data, dir } = parts
  const target = join(dir, `restored-${manifest.slice(0, 8)}`)
  await restored({ repository, manifest, target, readBack: false })
  const [was, is] = [statSync(source), statSync(target)]
  t.equal(is.size, was.size)
  t.ok(is.blocks <= was.blocks + data.length * 2 * 128, 'holes are holes again')
  for (const range of data) {
    const piece = join(dir, 'piece')
    await catTo(repository, manifest, piece, range)
    const { offset, length } = range
    for (const path of [piece, target]) {
      const skip = `${offset}:${path === piece ? 0 : offset}`
      await execute('cmp', ['-i', skip, '-n', `${length}`, source, path])
    }
  }
  const { size } = was
  t.match(await qemuCompare(source, target), /identical|no qemu-img/, `${size} bytes`)
}

/** What another program says of two sparse files, where it is installed. */
async function qemuCompare(a: string, b: string): Promise<string> {
  try {
    const { stdout } = await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', a, b])
    return stdout
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 'no qemu-img'
    throw error
  }
}
