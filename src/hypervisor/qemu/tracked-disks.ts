import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { isOwnName, type Tracker, type TrackerFlag } from '../../cbt/tracking.js'
import type { TrackedDisk } from '../point-in-time.js'
import { lineageOf } from './bitmap-plan.js'
import { readBlockState, type NodeBitmap } from './block-state.js'
import type { QemuDisk } from './open-qemu.js'
import type { QmpClient } from './qmp-client.js'
import { refuseBelow } from './refuse-below.js'
import { refuseThreads } from './refuse-threads.js'

/** The dirty bitmaps of some disks of a running QEMU; asks, and changes nothing. */
export async function trackedDisks(
  qmp: QmpClient,
  disks: readonly QemuDisk[],
  options?: AbortOptions,
): Promise<readonly TrackedDisk[]> {
  const { nodes } = await readBlockState(qmp, options)
  const tracked: TrackedDisk[] = []
  for (const disk of disks) {
    const { name, node, volumeBytes } = disk
    const bitmaps = nodes.get(node)?.bitmaps ?? []
    const trackers = bitmaps.map(bitmap => trackerOf(bitmap, bitmaps))
    const refusal = (await refusalOf(qmp, disk, options)) ?? noneOwn(disk, trackers)
    tracked.push({ name, volumeBytes, trackers, image: null, ...refusal })
  }
  return tracked
}

type Words = Pick<TrackedDisk, 'reason' | 'remedy'>

/** Why a backup of the disk would be refused; null where it would not. */
async function refusalOf(
  qmp: QmpClient,
  disk: QemuDisk,
  options?: AbortOptions,
): Promise<Words | null> {
  try {
    await refuseBelow(qmp, [disk], options)
    await refuseThreads(qmp, [disk], options)
    return null
  } catch (error) {
    if (!(error instanceof MoverError) || error.code !== 'HYPERVISOR_REFUSED') throw error
    return { reason: error.message, remedy: error.remedy }
  }
}

function noneOwn({ keepsBitmaps }: QemuDisk, trackers: readonly Tracker[]): Words {
  if (trackers.some(({ isOwn }) => isOwn)) return { reason: null, remedy: null }
  const until = keepsBitmaps ? '' : `, ${UNTIL_QEMU_ENDS}`
  return {
    reason: 'no-bitmap',
    remedy: `nothing: the next backup reads all of it, and tracks it from there${until}`,
  }
}

const UNTIL_QEMU_ENDS = 'until QEMU ends: only images of qcow2 version 3 keep bitmaps beyond that'

function trackerOf(bitmap: NodeBitmap, bitmaps: readonly NodeBitmap[]): Tracker {
  const { name, granularityBytes, dirtyBytes } = bitmap
  const isOwn = isOwnName(name)
  const reason = reasonOf(bitmap, bitmaps)
  const isLost = reason !== null
  return {
    kind: 'qemu-bitmap',
    name,
    isOwn,
    granularityBytes,
    dirtyBytes: isLost ? null : dirtyBytes,
    flags: flagsOf(bitmap),
    health: isLost ? 'lost' : 'superset',
    reason,
    changes: null,
    remedy: isOwn ? ownRemedy(bitmap, isLost) : OTHERS,
  }
}

const OTHERS = 'others made it: mover neither uses nor removes it'

function reasonOf(bitmap: NodeBitmap, bitmaps: readonly NodeBitmap[]): string | null {
  if (bitmap.isInconsistent) return 'bitmap-inconsistent'
  return bitmap.isRecording || isGoneOnWith(bitmap, bitmaps) ? null : 'bitmap-disabled'
}

/** A run of ours that has not ended has disabled one bitmap of a lineage, and begun another. */
function isGoneOnWith({ name }: NodeBitmap, bitmaps: readonly NodeBitmap[]): boolean {
  const lineage = lineageOf(name)
  return bitmaps.some(
    other =>
      lineage !== null &&
      lineageOf(other.name) === lineage &&
      other.isRecording &&
      !other.isInconsistent,
  )
}

function ownRemedy({ isRecording, isPersistent }: NodeBitmap, isLost: boolean): string | null {
  if (isLost) {
    return (
      'nothing: the next backup to the repository and volume it belongs to removes it, reads the disk whole, ' +
      'and tracks it from there'
    )
  }
  if (!isRecording) {
    return 'a backup is under way, or was killed: the next one puts together what both bitmaps have'
  }
  return isPersistent ? null : `it counts ${UNTIL_QEMU_ENDS}`
}

function flagsOf(bitmap: NodeBitmap): TrackerFlag[] {
  const flags: [boolean, TrackerFlag][] = [
    [bitmap.isRecording, 'recording'],
    [bitmap.isBusy, 'busy'],
    [bitmap.isPersistent, 'persistent'],
    [bitmap.isInconsistent, 'inconsistent'],
  ]
  return flags.filter(([isSet]) => isSet).map(([, flag]) => flag)
}
