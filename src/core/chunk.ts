/**
 * Slot ↔ offset. A volume has ceil(volumeBytes / chunkBytes) slots and the last may be short.
 * Quotients of safe integers are floored and ceiled exactly: a quotient's distance from the nearest
 * integer is at least 1 / divisor, which is more than half of its last bit.
 */
import { extentEnd, type Extent } from './extent.js'
import { invariant } from './invariant.js'

/** How a volume is cut into chunks. */
export interface Geometry {
  readonly volumeBytes: number
  readonly chunkBytes: number
}

/** Slots `first` up to, not including, `first + count`. */
export interface SlotRun {
  readonly first: number
  readonly count: number
}

/** Number of slots of the volume; 0 for an empty one. */
export function slotCount({ volumeBytes, chunkBytes }: Geometry): number {
  return Math.ceil(volumeBytes / chunkBytes)
}

/** The bytes of `slot` on the volume; only the last slot can be shorter than a chunk. */
export function slotExtent(geometry: Geometry, slot: number): Extent {
  const run = { first: slot, count: 1 }
  return { offset: slot * geometry.chunkBytes, length: slotRunBytes(geometry, run) }
}

/** Every slot that `extent`, which must lie on the volume, touches; none for an empty extent. */
export function slotRunOf({ volumeBytes, chunkBytes }: Geometry, extent: Extent): SlotRun {
  const { offset, length } = extent
  invariant(Number.isSafeInteger(offset) && offset >= 0, 'an extent starts on the volume')
  invariant(length >= 0 && length <= volumeBytes - offset, 'an extent ends on the volume')
  const first = Math.floor(offset / chunkBytes)
  if (length === 0) return { first, count: 0 }
  return { first, count: Math.ceil((offset + length) / chunkBytes) - first }
}

/** Every slot that lies wholly in `extent`, which must lie on the volume. */
export function slotRunInside(geometry: Geometry, extent: Extent): SlotRun {
  const { volumeBytes, chunkBytes } = geometry
  const first = Math.ceil(extent.offset / chunkBytes)
  const reachesEnd = extentEnd(extent) === volumeBytes
  const end = reachesEnd ? slotCount(geometry) : Math.floor(extentEnd(extent) / chunkBytes)
  return { first, count: Math.max(0, end - first) }
}

/** Bytes on the volume of `run`, whose slots must exist. */
export function slotRunBytes(geometry: Geometry, { first, count }: SlotRun): number {
  const { volumeBytes, chunkBytes } = geometry
  invariant(first >= 0 && count >= 0 && first + count <= slotCount(geometry), 'slots exist')
  if (count === 0) return 0
  return Math.min((first + count) * chunkBytes, volumeBytes) - first * chunkBytes
}

/** Joins ascending slots into runs. */
export function joinSlots(slots: Iterable<number>): SlotRun[] {
  const runs: { first: number; count: number }[] = []
  for (const slot of slots) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === slot) last.count += 1
    else runs.push({ first: slot, count: 1 })
  }
  return runs
}
