/**
 * The benchmark's main volume: an ext4 of 8 GiB, half of it real files of this machine, a quarter noise,
 * the rest free. It depends on the machine's files, so figures of two machines are not of one volume.
 */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { writeNoise } from './noise.js'

const GIB = 2 ** 30
const MIB = 2 ** 20

export interface VolumeSizes {
  readonly volumeBytes: number
  readonly fileBytes: number
  readonly noiseBytes: number
}

export const MIXED_SIZES: VolumeSizes = {
  volumeBytes: 8 * GIB,
  fileBytes: 4 * GIB,
  noiseBytes: 2 * GIB,
}

/** Where real files are taken from, in this order, until there are enough. */
const SHELVES = ['/usr', '/opt', '/var/lib', '/srv', '/home', process.env.HOME ?? '/root']
const NOISE_FILE_BYTES = 32 * MIB
const REAL_FILE_BYTES_MAX = 512 * MIB

/** Makes the volume in `folder`, or finds it there, made before. */
export function mixedVolume(folder: string, sizes: VolumeSizes = MIXED_SIZES): string {
  const path = join(folder, `mixed-${sizes.volumeBytes / MIB}.img`)
  if (existsSync(path)) return path
  const staging = join(folder, 'mixed-staging')
  try {
    copyFiles(staging, sizes.fileBytes)
    for (let made = 0; made < sizes.noiseBytes; made += NOISE_FILE_BYTES) {
      const bytes = Math.min(NOISE_FILE_BYTES, sizes.noiseBytes - made)
      writeNoise(join(staging, `noise-${made / MIB}`), made / MIB, bytes)
    }
    const size = `${sizes.volumeBytes / MIB}M`
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', staging, `${path}.part`, size])
    renameSync(`${path}.part`, path)
  } finally {
    rmSync(staging, { recursive: true, force: true })
  }
  return path
}

/** Bytes that the file system keeps of a file: what is not a hole. */
export function dataBytes(path: string): number {
  return statSync(path).blocks * 512
}

/** The granules of a file that are not all zero, in ascending order. */
export function dataGranules(path: string, granularityBytes: number): number[] {
  const granules: number[] = []
  const file = openSync(path, 'r')
  const buffer = Buffer.alloc(64 * granularityBytes)
  const zeroes = Buffer.alloc(granularityBytes)
  try {
    for (let first = 0; ; first += 64) {
      const bytes = readSync(file, buffer, 0, buffer.length, first * granularityBytes)
      if (bytes === 0) return granules
      for (let at = 0; at * granularityBytes < bytes; at += 1) {
        const granule = buffer.subarray(at * granularityBytes, (at + 1) * granularityBytes)
        if (!granule.equals(zeroes)) granules.push(first + at)
      }
    }
  } finally {
    closeSync(file)
  }
}

function copyFiles(staging: string, bytesWanted: number): void {
  let room = bytesWanted
  for (const { path, bytes } of SHELVES.flatMap(shelf => [...filesBelow(shelf)])) {
    const copy = join(staging, path)
    if (bytes > room || existsSync(copy)) continue
    mkdirSync(dirname(copy), { recursive: true })
    copyFileSync(path, copy)
    room -= bytes
  }
  // A tenth less is another volume, which nobody should take for this one.
  if (room > bytesWanted / 10) {
    throw new Error(`this machine has too few files: ${room} of ${bytesWanted} bytes are missing`)
  }
}

function* filesBelow(folder: string): Generator<{ path: string; bytes: number }> {
  if (!existsSync(folder)) return
  const entries = readdirSync(folder, { withFileTypes: true })
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* filesBelow(path)
    else if (entry.isFile()) {
      const bytes = lstatSync(path).size
      if (bytes > 0 && bytes <= REAL_FILE_BYTES_MAX) yield { path, bytes }
    }
  }
}
