/** The table of a bitmap: an entry for each cluster of its bits. */
import { BITMAP_BYTES_MAX } from '../core/limits.js'
import { BigEndian, flagsBeside, hasFlag } from './big-endian.js'
import { bitmapBytes } from './dirty-bitmap.js'
import type { Qcow2Bitmap } from './qcow2-directory.js'
import { refusalOf, type ImageRules, type Qcow2Header } from './qcow2-header.js'

/** Where a bitmap's table is, and what one of its entries stands for. */
export interface BitmapTable {
  readonly offset: number
  readonly entries: number
  readonly granularityBytes: number
  readonly clusterBytes: number
  /** Bytes of the volume that the bits of one cluster speak of. */
  readonly coverageBytes: number
}

/** What the bits of one cluster are: all of one kind, or to be read at an offset of the file. */
export type ClusterBits = 'clean' | 'dirty' | number

export const TABLE_ENTRY_BYTES = 8

/** Bits 1 to 8 and 56 to 63. */
const RESERVED = 0xff00_0000_0000_01fen
const ALL_ONES = 1n

/**
 * The table of a bitmap that is healthy. Its size must be that of the volume's bitmap, to the cluster.
 * Throws an error of the rules' code otherwise, and for a bitmap larger than any that is read.
 */
export function bitmapTable(
  { name, tableOffset, tableEntries, granularityBits }: Qcow2Bitmap,
  { clusterBytes, volumeBytes }: Qcow2Header,
  rules: ImageRules,
): BitmapTable {
  const refuse = refusalOf(rules)
  const granularityBytes = 2 ** granularityBits
  const bytes = bitmapBytes({ granularityBytes, volumeBytes })
  if (bytes > BITMAP_BYTES_MAX) throw refuse(`bitmap '${name}' has ${bytes} bytes`)
  const expected = Math.ceil(bytes / clusterBytes)
  if (tableEntries !== expected) {
    throw refuse(`bitmap '${name}' has ${tableEntries} clusters, and its disk takes ${expected}`)
  }
  return {
    offset: tableOffset,
    entries: tableEntries,
    granularityBytes,
    clusterBytes,
    coverageBytes: clusterBytes * 8 * granularityBytes,
  }
}

/** Reads a piece of the table. Throws an error of the rules' code where it uses what is reserved. */
export function parseTableEntries(
  bytes: Uint8Array,
  { clusterBytes }: Pick<BitmapTable, 'clusterBytes'>,
  rules: ImageRules,
): readonly ClusterBits[] {
  const input = new BigEndian(bytes)
  const entries: ClusterBits[] = []
  for (let at = 0; at < bytes.length; at += TABLE_ENTRY_BYTES) {
    const entry = input.flags64(at)
    const isOnes = hasFlag(entry, ALL_ONES)
    const offset = flagsBeside(entry, RESERVED + ALL_ONES)
    const isAligned = offset % BigInt(clusterBytes) === 0n
    if (hasFlag(entry, RESERVED) || !isAligned || (isOnes && offset !== 0n)) {
      throw refusalOf(rules)('the table of a bitmap uses what is reserved')
    }
    if (offset === 0n) entries.push(isOnes ? 'dirty' : 'clean')
    else entries.push(offsetOf(offset, rules))
  }
  return entries
}

function offsetOf(offset: bigint, rules: ImageRules): number {
  if (offset <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(offset)
  throw refusalOf(rules)('the table of a bitmap points beyond any file')
}
