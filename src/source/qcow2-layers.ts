import { dirname, resolve } from 'node:path'
import { MoverError } from '../core/errors.js'
import { QCOW2_LAYERS_MAX } from '../core/limits.js'
import type { Health } from '../cbt/health.js'
import type { Qcow2Bitmap } from '../cbt/qcow2-directory.js'
import { isLocalPath, type ImageRules, type Qcow2Header } from '../cbt/qcow2-header.js'
import { bitmapHealth, type BitmapDoubt } from '../cbt/qcow2-health.js'
import { openQcow2Image, type Qcow2Image } from './qcow2-image.js'

/**
 * A bitmap in the image that is asked for and, by the same name, in those it lies on: each recorded what
 * was written while its image was the one that is written to. All are held until they are closed.
 */
export interface TrackedLayers extends AsyncDisposable {
  /** The image itself, whatever its bitmap is worth. */
  readonly image: Qcow2Image
  readonly health: Health
  /** From the top down; none where tracking is lost. */
  readonly layers: readonly TrackedLayer[]
}

export interface TrackedLayer {
  readonly image: Qcow2Image
  readonly bitmap: Qcow2Bitmap
}

/**
 * Looks for the bitmap in the image and below. Tracking is lost where any of it cannot be believed, or
 * an image between two that have the bitmap lacks it. Throws what `openQcow2Image` throws.
 */
export async function openTrackedLayers(
  path: string,
  { bitmap, rules }: { readonly bitmap: string; readonly rules: ImageRules },
): Promise<TrackedLayers> {
  const opened: Qcow2Image[] = []
  const close = async () => {
    for (const image of opened.splice(0)) await image[Symbol.asyncDispose]()
  }
  try {
    const image = await openQcow2Image(path, rules)
    opened.push(image)
    const found = await lookThrough(image, { name: bitmap, rules, opened })
    const isLost = typeof found === 'string'
    return {
      image,
      health: isLost ? { kind: 'lost', reason: found } : { kind: 'superset' },
      layers: isLost ? [] : found,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

interface Search {
  readonly name: string
  readonly rules: ImageRules
  /** What has to be closed. */
  readonly opened: Qcow2Image[]
}

async function lookThrough(
  top: Qcow2Image,
  search: Search,
): Promise<readonly TrackedLayer[] | BitmapDoubt> {
  const layers: TrackedLayer[] = []
  let image: Qcow2Image | null = top
  let isGap = false
  while (image !== null) {
    if (!image.isHeld) return 'image-in-use'
    const bitmap = (await image.bitmaps()).find(({ name }) => name === search.name) ?? null
    const doubt = doubtOf(bitmapHealth(image.header, bitmap))
    const isBelow = image !== top
    if (doubt !== null && !(isBelow && doubt === 'bitmap-absent')) return doubt
    if (bitmap === null) isGap = true
    else if (isGap) return 'bitmap-gap'
    else layers.push({ image, bitmap })
    const below = await openBelow(image, search)
    if (below === 'unknown') return 'backing-unknown'
    image = below
  }
  return layers
}

function doubtOf(health: Health): BitmapDoubt | null {
  return health.kind === 'lost' ? (health.reason as BitmapDoubt) : null
}

/** The image below, which may have a bitmap of the name too; null where there is none that could. */
async function openBelow(
  { path, header }: Qcow2Image,
  { rules, opened }: Search,
): Promise<Qcow2Image | 'unknown' | null> {
  const file = belowOf(path, header)
  if (file === null || file === 'unknown') return file
  if (opened.length > QCOW2_LAYERS_MAX) return 'unknown'
  try {
    const image = await openQcow2Image(file, { ...rules, name: `'${file}'` })
    opened.push(image)
    return image
  } catch (error) {
    // That it cannot be looked at is no sign that it has no bitmap.
    if (error instanceof MoverError && error.code === 'SOURCE_UNUSABLE') return 'unknown'
    throw error
  }
}

/** The path of the image below that may have bitmaps; null where there is none. */
export function belowOf(path: string, { backing }: Qcow2Header): string | null {
  if (backing === null) return null
  // A raw image has no bitmaps; of which format one is that does not say so, nobody should guess.
  if (backing.format === 'raw') return null
  if (backing.format !== 'qcow2') return 'unknown'
  const file = backing.file.replace(/^file:/, '')
  return isLocalPath(file) ? resolve(dirname(path), file) : 'unknown'
}
