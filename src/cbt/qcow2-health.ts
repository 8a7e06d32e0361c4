import type { Health } from './health.js'
import type { Qcow2Bitmap } from './qcow2-directory.js'
import type { Qcow2Header } from './qcow2-header.js'

/** Why a bitmap in an image cannot be believed; `core/mode-reason.ts` has the words. */
export type BitmapDoubt =
  | 'backing-unknown'
  | 'bitmap-absent'
  | 'bitmap-disabled'
  | 'bitmap-gap'
  | 'bitmap-in-use'
  | 'bitmap-unknown'
  | 'bitmaps-dropped'
  | 'image-corrupt'
  | 'image-dirty'
  | 'image-in-use'
  | 'image-unknown'
  | 'other-image'

/** Of what QEMU keeps; the format allows others, which nobody has written yet. */
const GRANULARITY_BITS = { min: 9, max: 31 } as const

/**
 * Whether a bitmap, null where the image has none of the name, can be believed. Only whole structures
 * are asked about: what is malformed was refused before. A healthy one is a superset: a bit stands for
 * a granule, of which one byte was written, perhaps with what it held before.
 */
export function bitmapHealth(header: Qcow2Header, bitmap: Qcow2Bitmap | null): Health {
  const reason = imageDoubt(header) ?? bitmapDoubt(header, bitmap)
  return reason === null ? { kind: 'superset' } : { kind: 'lost', reason }
}

/** An image whose features are not all known must not be read, one that is broken not believed. */
function imageDoubt(header: Qcow2Header): BitmapDoubt | null {
  if (header.hasUnknownFeatures) return 'image-unknown'
  if (header.isCorrupt) return 'image-corrupt'
  return header.isDirty ? 'image-dirty' : null
}

function bitmapDoubt(header: Qcow2Header, bitmap: Qcow2Bitmap | null): BitmapDoubt | null {
  // Its last writer did not know bitmaps, and cleared the bit that would say that they are whole.
  if (header.areBitmapsDropped) return 'bitmaps-dropped'
  if (bitmap === null) return 'bitmap-absent'
  const { granularityBits } = bitmap
  const isKept = granularityBits >= GRANULARITY_BITS.min && granularityBits <= GRANULARITY_BITS.max
  if (!bitmap.isDirtyBitmap || bitmap.hasUnknownFlags || bitmap.hasUnknownData || !isKept) {
    return 'bitmap-unknown'
  }
  // Before the other flags, which may be as old as the bits are.
  if (bitmap.isInUse) return 'bitmap-in-use'
  // Whatever was written since it was stopped is not in it, and nothing tells whether there was any.
  return bitmap.isRecording ? null : 'bitmap-disabled'
}
