import type { AbortOptions } from '../core/abort.js'
import { dirtyBytesOf } from '../cbt/dirty-bytes.js'
import { openNbdVolume } from '../native/nbd-volume.js'
import { nbdChanges } from './nbd-changes.js'
import { DIRTY_BITMAPS } from './nbd-context.js'
import { isOwnName, type Tracker, type Tracking } from '../cbt/tracking.js'

/** The dirty bitmaps that an NBD server exports with its volume. */
export async function nbdTracking(uri: string, { signal }: AbortOptions = {}): Promise<Tracking> {
  const opened = await openNbdVolume(uri, { role: 'source', contexts: [DIRTY_BITMAPS], signal })
  const { bytes: volumeBytes, contexts } = opened
  // Closed first: a server may have one connection to give.
  opened.close()
  const trackers: Tracker[] = []
  for (const context of [...contexts].sort()) {
    const bitmap = context.slice(DIRTY_BITMAPS.length)
    const request = { volumeBytes, parentVolumeBytes: volumeBytes, signal }
    const { extents } = await nbdChanges({ uri, bitmap }).changed(request)
    trackers.push(trackerOf(uri, bitmap, await dirtyBytesOf(extents)))
  }
  return {
    source: uri,
    kind: 'nbd',
    volumeBytes,
    dataFile: null,
    trackers,
    reason: null,
    remedy: trackers.length > 0 ? null : NONE,
  }
}

const NONE =
  'its server exports no dirty bitmap: one has to be named where the export is made (qemu-nbd -B NAME; ' +
  'bitmaps of block-export-add)'

function trackerOf(uri: string, name: string, dirtyBytes: number): Tracker {
  return {
    kind: 'nbd-bitmap',
    name,
    isOwn: isOwnName(name),
    granularityBytes: null,
    dirtyBytes,
    flags: [],
    health: 'superset',
    reason: null,
    changes: `${uri},bitmap=${name}`,
    remedy: 'see that it has stopped recording: a backup during which it moves fails',
  }
}
