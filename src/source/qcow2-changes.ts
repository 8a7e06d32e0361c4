import { throwIfAborted } from '../core/abort.js'
import { errorKind, MoverError } from '../core/errors.js'
import type { StatedExtent } from '../core/extent.js'
import { coverVolume, type StatedExtents } from '../cbt/change-map.js'
import type { ImageRules } from '../cbt/qcow2-header.js'
import { unionExtents } from '../cbt/union-extents.js'
import {
  lostAnswer,
  statedChanges,
  type ChangeAnswer,
  type ChangeRequest,
  type ChangeSource,
  type VolumeRequest,
} from './change-source.js'
import { openTrackedLayers, type TrackedLayer, type TrackedLayers } from './qcow2-layers.js'

/** A persistent dirty bitmap in a qcow2 image that no running QEMU has open. */
export interface Qcow2Changes {
  /** Of the image, or of the shell of a disk whose bytes are elsewhere. */
  readonly path: string
  readonly bitmap: string
  readonly since?: string | null
}

/** Of disks whose files are no multiple of it, QEMU rounds the size up. */
const SECTOR_BYTES = 512

/**
 * Changes as a dirty bitmap that is read from the image itself. The bytes need not be in there: the source
 * may be the raw device whose bitmaps an image with a data file keeps. An answer is `lost` where QEMU would
 * not use the bitmap either, where somebody writes to the image, and where the source is another image.
 */
export function qcow2Changes({ path, bitmap, since = null }: Qcow2Changes): ChangeSource {
  const tracked: Tracked = { path, bitmap }
  const name = `${bitmap} in '${path}'`
  const changed = async (request: ChangeRequest): Promise<ChangeAnswer> => {
    throwIfAborted(request)
    await using looked = await openTracked(tracked)
    const doubt = doubtOf(looked, request)
    if (doubt !== null) return lostAnswer(request, doubt)
    const granularityBytes = Math.max(...looked.layers.map(granularityOf))
    const read = (volume: VolumeRequest) => dirtyIn(tracked, volume)
    return statedChanges({ name, since, granularityBytes, read }).changed(request)
  }
  return { name, since, changed }
}

type Tracked = Required<Pick<Qcow2Changes, 'path' | 'bitmap'>>

async function openTracked({ path, bitmap }: Tracked): Promise<TrackedLayers> {
  return openTrackedLayers(path, { bitmap, rules: rulesOf(path) }).catch(failed)
}

function rulesOf(path: string): ImageRules {
  return { name: `'${path}'`, code: 'CHANGES_MALFORMED' }
}

/** A bitmap of a base does not see what is written to the overlay that is read. */
function doubtOf(
  { health, image }: TrackedLayers,
  { sourceIdentity = null }: ChangeRequest,
): string | null {
  if (health.kind === 'lost') return health.reason
  const isImage = sourceIdentity?.startsWith('qcow2 ') ?? false
  return isImage && sourceIdentity !== image.identity ? 'other-image' : null
}

function granularityOf({ bitmap }: TrackedLayer): number {
  return 2 ** bitmap.granularityBits
}

/** The file is opened anew, because what was answered may be read later, or never. */
async function* readDirty(
  tracked: Tracked,
  { volumeBytes, signal }: VolumeRequest,
): AsyncGenerator<StatedExtent> {
  try {
    await using looked = await openTracked(tracked)
    const { health, image, layers } = looked
    if (health.kind === 'lost') throw moved(tracked.path, health.reason)
    refuseUnfit(image.header.volumeBytes, { volumeBytes, ...tracked })
    const dirty = layers.map(layer => layer.image.dirty(layer.bitmap, { signal }))
    for await (const { offset, length, state } of unionExtents(dirty)) {
      // The last granule, or a base that is larger than what lies on it.
      const within = Math.min(length, volumeBytes - offset)
      if (within > 0) yield { offset, length: within, state }
    }
    for (const layer of layers) await checkUnmoved(layer)
  } catch (error) {
    failed(error)
  }
}

function dirtyIn(tracked: Tracked, { volumeBytes, signal }: VolumeRequest): StatedExtents {
  const rules = { volumeBytes, gaps: 'clean', code: 'CHANGES_MALFORMED' } as const
  return coverVolume(readDirty(tracked, { volumeBytes, signal }), rules, { signal })
}

function refuseUnfit(
  imageBytes: number,
  { volumeBytes, path, bitmap }: Tracked & { readonly volumeBytes: number },
): void {
  if (imageBytes === Math.ceil(volumeBytes / SECTOR_BYTES) * SECTOR_BYTES) return
  const message =
    `the disk of '${path}' has ${imageBytes} bytes, so ${bitmap} does not fit the volume of ` +
    `${volumeBytes}`
  throw new MoverError('CHANGES_MALFORMED', message, {
    stage: 'plan',
    remedy: 'check that the bitmap is of this volume',
  })
}

/** Locks keep out QEMU and those who heed them; this notices others, as QEMU's first act is to mark it. */
async function checkUnmoved({ image, bitmap }: TrackedLayer): Promise<void> {
  const now = (await image.bitmaps()).find(({ name }) => name === bitmap.name)
  if (JSON.stringify(now) !== JSON.stringify(bitmap)) throw moved(image.path, 'bitmap-in-use')
}

function moved(path: string, reason: string): MoverError {
  return new MoverError('CHANGES_FAILED', `'${path}' was opened by a writer while it was read`, {
    stage: 'plan',
    retryable: true,
    details: { reason },
    remedy: 'back up while the image is not in use, or ask the program that has it for its bitmap',
  })
}

/** The error of a change map that cannot be had, whatever the file ended in. */
function failed(error: unknown): never {
  if (!(error instanceof MoverError) || errorKind(error.code) !== 'source') throw error
  if (error.code === 'CHANGES_FAILED') throw error
  const { message, offset, remedy, details, retryable } = error
  throw new MoverError('CHANGES_FAILED', `cannot read the change map: ${message}`, {
    stage: 'plan',
    offset,
    remedy,
    details,
    retryable,
    cause: error,
  })
}
