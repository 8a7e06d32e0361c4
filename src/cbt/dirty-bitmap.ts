/**
 * One bit for each granule of a volume, least significant bit first, as QEMU and libnbd count. The
 * bits that fill up the last byte mean nothing.
 */
import { MoverError } from '../core/errors.js'
import type { Extent } from '../core/extent.js'
import { invariant } from '../core/invariant.js'

/** What the bits of a bitmap stand for. */
export interface BitmapGeometry {
  readonly granularityBytes: number
  readonly volumeBytes: number
}

/** Bytes in the bitmap of such a volume. */
export function bitmapBytes({ granularityBytes, volumeBytes }: BitmapGeometry): number {
  return Math.ceil(Math.ceil(volumeBytes / granularityBytes) / 8)
}

/**
 * Yields the dirty extents in ascending order. Neighbouring dirty granules come out as one extent,
 * so no two extents touch, and the last one stops at the end of the volume.
 */
export function* dirtyExtents(bits: Uint8Array, geometry: BitmapGeometry): Generator<Extent> {
  const { granularityBytes, volumeBytes } = geometry
  invariant(bits.length === bitmapBytes(geometry), 'bitmap length matches the volume')
  const granuleCount = Math.ceil(volumeBytes / granularityBytes)
  const bitmap = viewOf(bits)

  let granule = 0
  while (granule < granuleCount) {
    const first = nextGranule(bitmap, { from: granule, until: granuleCount, dirty: true })
    const end = nextGranule(bitmap, { from: first, until: granuleCount, dirty: false })
    if (first < end) {
      const offset = first * granularityBytes
      yield { offset, length: Math.min(end * granularityBytes, volumeBytes) - offset }
    }
    granule = end
  }
}

/** A dirty bitmap in the making: records writes for a backup to come. */
export class DirtyBitmap {
  readonly geometry: BitmapGeometry
  readonly #bits: Uint8Array

  constructor(geometry: BitmapGeometry) {
    this.geometry = geometry
    this.#bits = new Uint8Array(bitmapBytes(geometry))
  }

  /** Marks every granule that `extent` touches; `ARGUMENT_INVALID` when it leaves the volume. */
  mark({ offset, length }: Extent): void {
    const { granularityBytes, volumeBytes } = this.geometry
    const isOnVolume =
      Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && length <= volumeBytes - offset
    if (!isOnVolume) {
      throw new MoverError('ARGUMENT_INVALID', `a write at ${offset}+${length} leaves the volume`)
    }
    if (length === 0) return
    const end = Math.ceil((offset + length) / granularityBytes)
    let granule = Math.floor(offset / granularityBytes)
    while (granule < end) {
      const byte = Math.floor(granule / 8)
      const untilBit = Math.min(end - byte * 8, 8)
      this.#bits[byte] = (this.#bits[byte] ?? 0) | bitsBetween(granule % 8, untilBit)
      granule = byte * 8 + untilBit
    }
  }

  /** A copy of the bits so far. */
  bytes(): Uint8Array {
    return this.#bits.slice()
  }
}

/** A bitmap's bytes and, from the first aligned one on, the same memory as words. */
interface BitmapView {
  readonly bits: Uint8Array
  readonly words: Uint32Array
  readonly wordsFrom: number
}

function viewOf(bits: Uint8Array): BitmapView {
  const wordsFrom = Math.min((4 - (bits.byteOffset % 4)) % 4, bits.length)
  const wordCount = Math.floor((bits.length - wordsFrom) / 4)
  // An empty view at an unaligned offset would throw.
  const words =
    wordCount === 0
      ? new Uint32Array(0)
      : new Uint32Array(bits.buffer, bits.byteOffset + wordsFrom, wordCount)
  return { bits, words, wordsFrom }
}

interface GranuleSearch {
  readonly from: number
  readonly until: number
  readonly dirty: boolean
}

/** The first granule from `from` on that is dirty, or clean; `until` when there is none. */
function nextGranule(bitmap: BitmapView, { from, until, dirty }: GranuleSearch): number {
  // Granules are counted beyond 2^31, where bit operators end: they see only bits within a byte.
  const inverted = dirty ? 0 : 0xff
  let byte = Math.floor(from / 8)
  let found = ((bitmap.bits[byte] ?? 0) ^ inverted) & bitsBetween(from % 8, 8)
  if (found === 0) {
    byte = nextUnlike(bitmap, byte + 1, inverted)
    if (byte >= bitmap.bits.length) return until
    found = (bitmap.bits[byte] ?? 0) ^ inverted
  }
  return Math.min(byte * 8 + 31 - Math.clz32(found & -found), until)
}

/** The first byte from `from` on that is not `value`, which is 0 or 0xff; the length when all are. */
function nextUnlike({ bits, words, wordsFrom }: BitmapView, from: number, value: number): number {
  const wordValue = value === 0 ? 0 : 0xffff_ffff
  let byte = from
  for (;;) {
    if (byte >= wordsFrom && (byte - wordsFrom) % 4 === 0) {
      let word = (byte - wordsFrom) / 4
      while (words[word] === wordValue) word += 1
      byte = wordsFrom + word * 4
    }
    if (bits[byte] !== value) return byte
    byte += 1
  }
}

/** The bits `from` up to, not including, `until` of a byte. */
function bitsBetween(from: number, until: number): number {
  return (0xff << from) & (0xff >>> (8 - until))
}
