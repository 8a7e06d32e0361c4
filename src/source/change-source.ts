import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import type { DisposalStack } from '../core/disposal-stack.js'
import type { StatedExtent } from '../core/extent.js'
import { GRANULARITY_BYTES_MIN } from '../core/limits.js'
import { coverVolume, drainExtents, type StatedExtents } from '../cbt/change-map.js'
import { bitmapBytes, dirtyExtents } from '../cbt/dirty-bitmap.js'
import type { Health } from '../cbt/health.js'

/** Says what changed on a volume since a checkpoint. Its answers are used, and never trusted. */
export interface ChangeSource {
  /** As the caller named it: data for messages. */
  readonly name: string
  /** The checkpoint from which it counts; null where the caller pins the parent by id instead. */
  readonly since: string | null

  /**
   * Throws CHANGES_FAILED when the answer cannot be had, and CHANGES_MALFORMED, now or while the
   * extents are read, when it is not whole or fits neither the volume nor its parent.
   */
  changed(request: ChangeRequest): Promise<ChangeAnswer>
}

export interface ChangeRequest extends AbortOptions {
  readonly volumeBytes: number
  readonly parentVolumeBytes: number
  /** As `Source.identity` says it; null or not given where it is not known. */
  readonly sourceIdentity?: string | null
  /** Takes what has to stay open until the volume is read; without it, nobody will ask `checkUnmoved`. */
  readonly held?: DisposalStack
}

export interface ChangeAnswer {
  readonly health: Health
  /** Bytes that a tracker cannot tell apart; 1 where the extents are exact to the byte. */
  readonly granularityBytes: number
  /** Ordered and gap-free over the volume; to be read once. */
  readonly extents: StatedExtents
  /**
   * To be called once the extents and the volume were read. Throws SOURCE_CHANGED where the map would not
   * be the same now; not there where it cannot move.
   */
  readonly checkUnmoved?: () => Promise<void>
}

/** A bitmap in memory, least significant bit first. It must not be written to afterwards. */
export interface BitmapChanges {
  readonly bits: Uint8Array
  /** A multiple of 512. */
  readonly granularityBytes: number
  readonly since?: string | null
  readonly name?: string
}

/** Changes as a dirty bitmap, whose length must be that of the volume's bitmap to the byte. */
export function bitmapChanges({
  bits,
  granularityBytes,
  since = null,
  name = 'the bitmap',
}: BitmapChanges): ChangeSource {
  if (!(granularityBytes > 0 && Number.isSafeInteger(granularityBytes / GRANULARITY_BYTES_MIN))) {
    throw new MoverError(
      'ARGUMENT_INVALID',
      `a granularity of ${granularityBytes} bytes is not a multiple of ${GRANULARITY_BYTES_MIN}`,
    )
  }
  return statedChanges({
    name,
    since,
    granularityBytes,
    read: ({ volumeBytes, signal }) => {
      const expected = bitmapBytes({ granularityBytes, volumeBytes })
      if (bits.length !== expected) {
        throw misfit({ name, bits, granularityBytes, volumeBytes, expected })
      }
      const dirty = dirtyExtents(bits, { granularityBytes, volumeBytes })
      return coverCleanly(asData(dirty), { volumeBytes, signal })
    },
  })
}

/** Extents in ascending order; bytes that none of them names are clean. */
export interface ExtentChanges {
  readonly extents: StatedExtents
  readonly since?: string | null
  readonly name?: string
}

/** Changes as extents from a tracker of the caller's. */
export function extentChanges({
  extents,
  since = null,
  name = 'the extents',
}: ExtentChanges): ChangeSource {
  return statedChanges({
    name,
    since,
    granularityBytes: 1,
    read: request => coverCleanly(extents, request),
  })
}

/** What a change source is made of: how it reads its answer for a volume of a given size. */
export interface StatedChanges extends Pick<ChangeSource, 'name' | 'since'> {
  readonly granularityBytes: number
  readonly read: (volume: VolumeRequest) => StatedExtents
}

export interface VolumeRequest extends AbortOptions {
  readonly volumeBytes: number
}

/**
 * Gives `read` what every change source shares: an answer that may name too much, and none when the
 * volume was resized, because trackers lie about grown tails and about shrink-then-grow.
 */
export function statedChanges({
  name,
  since,
  granularityBytes,
  read,
}: StatedChanges): ChangeSource {
  const changed = async (request: ChangeRequest): Promise<ChangeAnswer> => {
    throwIfAborted(request)
    const { volumeBytes, parentVolumeBytes, signal } = request
    if (volumeBytes === parentVolumeBytes) {
      const extents = read({ volumeBytes, signal })
      return { health: { kind: 'superset' }, granularityBytes, extents }
    }
    // Not believed, but still read: nonsense is refused whether or not it would have been used.
    await drainEither([volumeBytes, parentVolumeBytes], size => read({ volumeBytes: size, signal }))
    return lostAnswer({ volumeBytes }, 'resized')
  }
  return { name, since, changed }
}

/** The answer of a tracker that has to be given up: all of the volume may have changed. */
export function lostAnswer(
  { volumeBytes }: Pick<ChangeRequest, 'volumeBytes'>,
  reason: string,
): ChangeAnswer {
  const extents = unknownVolume(volumeBytes)
  return { health: { kind: 'lost', reason }, granularityBytes: 1, extents }
}

async function drainEither(
  [volumeBytes, parentVolumeBytes]: readonly [number, number],
  open: (volumeBytes: number) => StatedExtents,
): Promise<void> {
  try {
    await drainExtents(open(volumeBytes))
  } catch (error) {
    if (!(error instanceof MoverError) || error.code !== 'CHANGES_MALFORMED') throw error
    await drainExtents(open(parentVolumeBytes)).catch(() => {
      throw error
    })
  }
}

function coverCleanly(
  extents: StatedExtents,
  { volumeBytes, signal }: VolumeRequest,
): StatedExtents {
  return coverVolume(extents, { volumeBytes, gaps: 'clean', code: 'CHANGES_MALFORMED' }, { signal })
}

function* asData(extents: Iterable<{ offset: number; length: number }>): Generator<StatedExtent> {
  for (const { offset, length } of extents) yield { offset, length, state: 'data' }
}

function unknownVolume(volumeBytes: number): StatedExtent[] {
  return volumeBytes === 0 ? [] : [{ offset: 0, length: volumeBytes, state: 'unknown' }]
}

interface Misfit {
  readonly name: string
  readonly bits: Uint8Array
  readonly granularityBytes: number
  readonly volumeBytes: number
  readonly expected: number
}

function misfit({ name, bits, granularityBytes, volumeBytes, expected }: Misfit): MoverError {
  return new MoverError(
    'CHANGES_MALFORMED',
    `${name} has ${bits.length} bytes and does not fit the volume: ${volumeBytes} bytes in granules ` +
      `of ${granularityBytes} take ${expected}`,
    { stage: 'plan', remedy: 'check the granularity, and that the bitmap is of this volume' },
  )
}
