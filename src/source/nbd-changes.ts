import { createHash } from 'node:crypto'
import { BatchedExtents } from '../cbt/batched-extents.js'
import type { AbortOptions } from '../core/abort.js'
import { errorKind, MoverError } from '../core/errors.js'
import type { StatedExtent } from '../core/extent.js'
import { parseNbdUri } from '../core/nbd-uri.js'
import type { NbdInfo } from '../native/addon.js'
import { openNbdVolume, type NbdVolume } from '../native/nbd-volume.js'
import {
  statedChanges,
  type ChangeRequest,
  type ChangeSource,
  type VolumeRequest,
} from './change-source.js'
import { bitsOf, DIRTY_BITMAPS, readContext, type StateOfFlags } from './nbd-context.js'

/** A dirty bitmap of QEMU that an NBD server exports. */
export interface NbdChanges {
  readonly uri: string
  readonly bitmap: string
  readonly since?: string | null
  /** Whether somebody else sees to it that the bitmap does not move: it is then read once only. */
  readonly isFrozen?: boolean
}

/**
 * Changes as the dirty bitmap of an export. The bytes need not come from there: the source may be the
 * device itself. Each answer is read over a connection of its own, which stays open where it is to be asked
 * whether the bitmap has moved: QEMU exports one that still records as willingly as any other. Throws
 * ARGUMENT_INVALID for what is no NBD URI.
 */
export function nbdChanges({
  uri,
  bitmap,
  since = null,
  isFrozen = false,
}: NbdChanges): ChangeSource {
  parseNbdUri(uri)
  const name = `${bitmap} at ${uri}`
  const named: Bitmap = { uri, context: `${DIRTY_BITMAPS}${bitmap}` }
  const changed = async (request: ChangeRequest) => {
    let seen = null as SeenMap | null
    const keep = (map: SeenMap) => {
      request.held?.defer(map.volume.close)
      seen = map
    }
    const isWatched = !isFrozen && request.held !== undefined
    const answer = await statedChanges({
      name,
      since,
      granularityBytes: 1,
      read: volume =>
        new BatchedExtents(() => dirtyExtents(named, volume, isWatched ? keep : null)),
    }).changed(request)
    if (!isWatched) return answer
    const checkUnmoved = async () => {
      if (seen !== null) await refuseMoved(name, named, seen, request)
    }
    return { ...answer, checkUnmoved }
  }
  return { name, since, changed }
}

interface Bitmap {
  readonly uri: string
  readonly context: string
}

/** A map that was read to its end, and the connection that can tell whether it is still the same. */
interface SeenMap {
  readonly volume: NbdVolume
  readonly digest: string
}

async function* dirtyExtents(
  { uri, context }: Bitmap,
  { volumeBytes, signal }: VolumeRequest,
  keep: ((map: SeenMap) => void) | null,
): AsyncGenerator<readonly StatedExtent[]> {
  const opened = await openNbdVolume(uri, { role: 'source', contexts: [context], signal }).catch(
    failed,
  )
  let isKept = false
  try {
    refuseUnfit(opened, { uri, context, volumeBytes })
    const digest = new MapDigest()
    for await (const batch of dirtyBatches(opened, context, { signal })) {
      if (keep !== null) digest.add(batch)
      yield batch
    }
    keep?.({ volume: opened, digest: digest.text() })
    isKept = keep !== null
  } catch (error) {
    failed(error)
  } finally {
    if (!isKept) opened.close()
  }
}

function dirtyBatches(
  volume: NbdVolume,
  context: string,
  { signal }: AbortOptions,
): AsyncIterable<readonly StatedExtent[]> {
  return readContext(volume, { context, stateOf: stateOfBitmap, signal }).batches()
}

/** A bitmap that moves while its volume is read says that the volume is written to. */
async function refuseMoved(
  name: string,
  { context }: Bitmap,
  { volume, digest: before }: SeenMap,
  options: AbortOptions,
): Promise<void> {
  const now = new MapDigest()
  try {
    for await (const batch of dirtyBatches(volume, context, options)) now.add(batch)
  } catch (error) {
    failed(error)
  }
  if (now.text() === before) return
  throw new MoverError('SOURCE_CHANGED', `${name} still records: it moved during the backup`, {
    stage: 'read',
    remedy:
      'freeze the volume and disable its bitmap before they are exported, as mover does by itself ' +
      'where SOURCE is qmp:PATH/NODE or libvirt:DOMAIN',
  })
}

/** Of extents in whatever batches: some words for all of them, however many there are. */
class MapDigest {
  readonly #hash = createHash('sha256')

  add(batch: readonly StatedExtent[]): void {
    const numbers = new Float64Array(batch.length * 3)
    let at = 0
    for (const { offset, length, state } of batch) {
      numbers[at] = offset
      numbers[at + 1] = length
      numbers[at + 2] = state === 'data' ? 1 : 0
      at += 3
    }
    this.#hash.update(numbers)
  }

  text(): string {
    return this.#hash.digest('hex')
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
