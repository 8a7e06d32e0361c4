/**
 * How many levels a tree has and what each child covers; and the root, in which all of it ends.
 * An entry of level n covers 128^n slots: entries of level 0 are the slots, those of level n the
 * pages of level n - 1, and the one entry of level `height` is the top.
 */
import { slotCount } from '../core/chunk.js'
import type { Geometry } from '../core/chunk.js'
import { DIGEST_BYTES, digestHex, parseDigestHex } from '../core/digest.js'
import { invariant } from '../core/invariant.js'
import { PAGE_CHILDREN, TREE_HEIGHT_MAX } from '../core/limits.js'
import type { TreeTop } from '../core/manifest.js'
import { deriveDigest } from '../native/blake3.js'

/** The smallest number of levels that holds the slots; 0 for a volume without any. */
export function treeHeight(slots: number): number {
  let height = 0
  while (slots > (height === 0 ? 0 : levelSlots(height))) height += 1
  invariant(height <= TREE_HEIGHT_MAX, 'the tree reaches every slot of the largest volume')
  return height
}

/** By level; raising to a power each time would be what a scattered incremental mostly does. */
const LEVEL_SLOTS = Array.from(
  { length: TREE_HEIGHT_MAX + 1 },
  (_, level) => PAGE_CHILDREN ** level,
)

/** Slots that an entry of `level` covers, where the volume does not end before. */
export function levelSlots(level: number): number {
  const slots = LEVEL_SLOTS[level]
  invariant(slots !== undefined, 'a tree has so many levels')
  return slots
}

/** Slots that entry `index` of `level` covers in a volume of so many slots. */
export function entrySlots(slots: number, level: number, index: number): number {
  const span = levelSlots(level)
  return Math.max(0, Math.min(span, slots - index * span))
}

/** Entries of `level` in a volume of so many slots. */
export function entryCount(slots: number, level: number): number {
  return Math.ceil(slots / levelSlots(level))
}

/** The digest, in hex, over size, chunk size and tree: equal roots mean equal bytes. */
export function treeRoot(geometry: Geometry, { height, state, top }: TreeTop): string {
  const record = Buffer.alloc(16 + DIGEST_BYTES)
  record.writeBigUInt64LE(BigInt(geometry.volumeBytes), 0)
  record.writeUInt32LE(geometry.chunkBytes, 8)
  record.writeUInt8(height, 12)
  record.writeUInt8(state === 'page' ? 1 : 0, 13)
  if (top !== null) record.set(parseDigestHex(top), 16)
  return digestHex(deriveDigest('mover 1 tree root', record))
}

/** What is wrong with the top of a tree for a volume of this size; null where nothing is. */
export function treeTopProblem(geometry: Geometry, { height, state, top }: TreeTop): string | null {
  const slots = slotCount(geometry)
  if (height !== treeHeight(slots)) return `a tree of height ${height} for ${slots} slots`
  if ((state === 'page') !== (top !== null)) return `a top in state ${state} with digest ${top}`
  if (slots === 0 && state === 'page') return 'a page for a volume without slots'
  return null
}
