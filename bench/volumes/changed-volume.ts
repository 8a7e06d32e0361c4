/** A later state of a volume, and the dirty bitmap between the two. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { noise } from './noise.js'
import { seeded } from './seeded.js'

export const GRANULARITY_BYTES = 65_536

export interface Change {
  readonly volume: string
  readonly bitmap: string
  readonly bytes: number
}

/** Copies `volume` and writes over `granules` of it that are not holes, half noise and half text. */
export function changedVolume(volume: string, path: string, options: Granules): Change {
  execFileSync('cp', ['--sparse=always', '--reflink=auto', volume, `${path}.part`])
  const bits = Buffer.alloc(Math.ceil(statSync(volume).size / GRANULARITY_BYTES / 8))
  const file = openSync(`${path}.part`, 'r+')
  try {
    writeGranules(file, options)
    for (const granule of options.granules) setBit(bits, granule)
  } finally {
    closeSync(file)
  }
  const bitmap = `${path}.bitmap`
  writeFileSync(bitmap, bits)
  rmSync(path, { force: true })
  renameSync(`${path}.part`, path)
  return { volume: path, bitmap, bytes: options.granules.length * GRANULARITY_BYTES }
}

export interface Granules {
  readonly granules: readonly number[]
  readonly seed: number
}

/** Writes content made from a seed into the granules of an open file. */
export function writeGranules(file: number, { granules, seed }: Granules): void {
  const pieces = contents(granules.length, seed)
  for (const granule of granules) {
    const piece = pieces.next().value as Buffer
    writeSync(file, piece, 0, piece.length, granule * GRANULARITY_BYTES)
  }
}

/** So many granules of content: by turns noise, and text that is numbered so that none is known already. */
export function* contents(count: number, seed: number): Generator<Buffer> {
  const noisy = noise(seed, Math.ceil(count / 2) * GRANULARITY_BYTES, GRANULARITY_BYTES)
  for (let number = 0; number < count; number += 1) {
    const noisyOne = number % 2 === 0 ? noisy.next().value : undefined
    yield noisyOne ?? text(number, seed)
  }
}

function text(number: number, seed: number): Buffer {
  const line = `${seed} ${number} the quick brown fox jumps over the lazy dog ${number * 7919}\n`
  const lines = Buffer.from(line.repeat(Math.ceil(GRANULARITY_BYTES / line.length)))
  return lines.subarray(0, GRANULARITY_BYTES)
}

/** Sets a bit, the least significant one of a byte first. */
export function setBit(bits: Buffer, bit: number): void {
  const at = Math.floor(bit / 8)
  const value = bits[at] ?? 0
  const weight = 2 ** (bit % 8)
  if (Math.floor(value / weight) % 2 === 0) bits[at] = value + weight
}

/** So many different granules of a list, picked by a seed, in ascending order. */
export function pickGranules(from: readonly number[], count: number, seed: number): number[] {
  const random = seeded(seed)
  const left = [...from]
  for (let at = 0; at < count; at += 1) {
    const other = at + Math.floor(random() * (left.length - at))
    const [one, two] = [left[at] ?? 0, left[other] ?? 0]
    left[at] = two
    left[other] = one
  }
  return left.slice(0, count).sort((a, b) => a - b)
}
