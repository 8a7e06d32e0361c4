/** Volumes to back up, as files and as loop devices, and what happens to them between two backups. */
import { execFile } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { open, truncate } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Extent } from '../../src/core/extent.js'
import { randomInteger, seededRandom } from './random.js'

const execute = promisify(execFile)

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB

/** What is written: noise does not compress, text does, zeroes are written and not punched. */
export type Content = 'noise' | 'text' | 'zero'

/** Bytes that depend on seed, length and content alone; a GiB a second. */
export function contentOf(content: Content, seed: number, length: number): Buffer {
  if (content === 'zero') return Buffer.alloc(length)
  if (content === 'text') return Buffer.alloc(length, `${seed}: the quick brown fox jumps; `)
  const key = Buffer.alloc(16)
  key.writeDoubleLE(seed)
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

/** A volume of `bytes`, which may be odd: noise, text, written zeroes, repeats, and holes where it is a new file. */
export async function makeVolume(
  path: string,
  { bytes, seed }: { readonly bytes: number; readonly seed: number },
): Promise<void> {
  const random = seededRandom(seed)
  await using file = await open(path, 'w')
  await file.truncate(bytes)
  for (let offset = 0; offset < bytes;) {
    const length = Math.min(512 * randomInteger(random, { from: 1, to: 512 }), bytes - offset)
    const kind = ['noise', 'noise', 'text', 'zero', 'hole', 'repeat'][Math.floor(random() * 6)]
    if (kind === 'repeat') await writeAt(file, offset, contentOf('noise', seed, length))
    else if (kind !== 'hole') {
      await writeAt(file, offset, contentOf(kind as Content, seed + offset, length))
    }
    offset += length
  }
}

/** A volume of holes, and noise at some places: as large as the file system allows. */
export async function makeSparseVolume(
  path: string,
  options: { readonly bytes: number; readonly seed: number; readonly data: readonly Extent[] },
): Promise<void> {
  const { bytes, seed, data } = options
  await using file = await open(path, 'w')
  await file.truncate(bytes)
  for (const { offset, length } of data) {
    await writeAt(file, offset, contentOf('noise', seed + offset, length))
  }
}

/** Writes into a volume that is there; returns what was written, as a tracker would note it. */
export async function write(
  path: string,
  { offset, length }: Extent,
  { content, seed }: { readonly content: Content; readonly seed: number },
): Promise<Extent> {
  await using file = await open(path, 'r+')
  await writeAt(file, offset, contentOf(content, seed, length))
  return { offset, length }
}

/**
 * Some seeded writes all over the volume, each of 1 sector to 96 KiB: noise, text and zeroes, some
 * over the same place. Returns what was written, as a tracker would note it.
 */
export async function changeVolume(
  path: string,
  options: { readonly seed: number; readonly writes: number },
): Promise<Extent[]> {
  const random = seededRandom(options.seed)
  const written: Extent[] = []
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const lastSector = Math.ceil(size / 512) - 1
  for (let each = 0; each < options.writes && size > 0; each += 1) {
    const offset = 512 * randomInteger(random, { from: 0, to: lastSector })
    const length = Math.min(512 * randomInteger(random, { from: 1, to: 192 }), size - offset)
    const content = (['noise', 'text', 'zero'] as const)[Math.floor(random() * 3)] ?? 'noise'
    await writeAt(file, offset, contentOf(content, options.seed + each, length))
    written.push({ offset, length })
  }
  return written
}

/** Makes a hole: it reads as zero, and holds no blocks. Returns it, as a tracker would note it. */
export async function punchHole(path: string, { offset, length }: Extent): Promise<Extent> {
  await execute('fallocate', ['--punch-hole', '-o', `${offset}`, '-l', `${length}`, path])
  return { offset, length }
}

/** Gives a volume another size; what it grows by is a hole. */
export async function resizeVolume(path: string, bytes: number): Promise<void> {
  await truncate(path, bytes)
}

/** The dirty bitmap that a tracker makes of these writes, least significant bit first. */
export function bitmapOfWrites(
  writes: readonly Extent[],
  options: { readonly granularityBytes: number; readonly volumeBytes: number },
): Uint8Array {
  const { granularityBytes, volumeBytes } = options
  const granules = new Set<number>()
  for (const { offset, length } of writes) {
    const end = Math.ceil((offset + length) / granularityBytes)
    for (let at = Math.floor(offset / granularityBytes); at < end; at += 1) granules.add(at)
  }
  const bits = new Uint8Array(Math.ceil(Math.ceil(volumeBytes / granularityBytes) / 8))
  for (const granule of granules) {
    const byte = Math.floor(granule / 8)
    bits[byte] = (bits[byte] ?? 0) + 2 ** (granule % 8)
  }
  return bits
}

/** The loop device of a file, which is a whole number of sectors; detached when the test ends. */
export async function attachLoop(
  t: Test,
  path: string,
  { sectorBytes = 512 } = {},
): Promise<string> {
  const options = ['--find', '--show', '--sector-size', `${sectorBytes}`]
  const { stdout } = await execute('losetup', [...options, path])
  const device = stdout.trim()
  t.teardown(async () => {
    await execute('losetup', ['--detach', device])
  })
  return device
}

/** Why tests of block devices cannot run here; false where they can: `{ skip: noLoopDevices }`. */
export const noLoopDevices: string | false =
  process.getuid?.() === 0 ? false : 'needs root, for loop devices'

/**
 * What cmp says: '' when the first `bytes` of both are the same, or all of both and their sizes too
 * where no number is given.
 */
export async function cmp(
  a: string,
  b: string,
  options: { readonly bytes?: number } = {},
): Promise<string> {
  const limit = options.bytes === undefined ? [] : ['-n', `${options.bytes}`]
  try {
    await execute('cmp', [...limit, a, b])
    return ''
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string }
    return stdout + stderr || String(error)
  }
}

async function writeAt(file: FileHandle, offset: number, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, offset + done)
    done += bytesWritten
  }
}
