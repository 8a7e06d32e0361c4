import { BatchedExtents } from '../cbt/batched-extents.js'
import { errorKind, MoverError } from '../core/errors.js'
import type { StatedExtent } from '../core/extent.js'
import { parseNbdUri } from '../core/nbd-uri.js'
import type { NbdInfo } from '../native/addon.js'
import { openNbdVolume } from '../native/nbd-volume.js'
import { statedChanges, type ChangeSource, type VolumeRequest } from './change-source.js'
import { bitsOf, readContext, type StateOfFlags } from './nbd-context.js'

/** A dirty bitmap of QEMU that an NBD server exports. */
export interface NbdChanges {
  readonly uri: string
  readonly bitmap: string
  readonly since?: string | null
}

/**
 * Changes as the dirty bitmap of an export. The bytes need not come from there: the source may be the
 * device itself. Each answer is read over a connection of its own, which ends with it. Throws
 * ARGUMENT_INVALID for what is no NBD URI.
 */
export function nbdChanges({ uri, bitmap, since = null }: NbdChanges): ChangeSource {
  parseNbdUri(uri)
  const name = `${bitmap} at ${uri}`
  return statedChanges({
    name,
    since,
    granularityBytes: 1,
    read: request => {
      const named = { uri, context: `qemu:dirty-bitmap:${bitmap}` }
      return new BatchedExtents(() => dirtyExtents(named, request))
    },
  })
}

interface Bitmap {
  readonly uri: string
  readonly context: string
}

async function* dirtyExtents(
  { uri, context }: Bitmap,
  { volumeBytes, signal }: VolumeRequest,
): AsyncGenerator<readonly StatedExtent[]> {
  const opened = await openNbdVolume(uri, { role: 'source', contexts: [context], signal }).catch(
    failed,
  )
  try {
    refuseUnfit(opened, { uri, context, volumeBytes })
    yield* readContext(opened, { context, stateOf: stateOfBitmap, signal }).batches()
  } catch (error) {
    failed(error)
  } finally {
    opened.close()
  }
}

/** The only bit of `qemu:dirty-bitmap`. */
const stateOfBitmap: StateOfFlags = flags => (bitsOf(flags).bit0 ? 'data' : 'clean')

/** A server agrees also where it has no such context, and only leaves it out: that is no clean volume. */
function refuseUnfit(
  { contexts, bytes }: NbdInfo,
  { uri, context, volumeBytes }: Bitmap & { readonly volumeBytes: number },
): void {
  if (!contexts.includes(context)) {
    throw new MoverError('CHANGES_FAILED', `${uri} has no context ${context}`, {
      stage: 'plan',
      remedy: 'nbdinfo --list URI says what is exported; a bitmap has to be exported with its disk',
    })
  }
  if (bytes !== volumeBytes) {
    const message = `${uri} has ${bytes} bytes and does not fit the volume of ${volumeBytes}`
    throw new MoverError('CHANGES_MALFORMED', message, {
      stage: 'plan',
      remedy: 'check that the bitmap is of this volume',
    })
  }
}

/** The error of a change map that cannot be had, whatever its connection ended in. */
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
