import type { Tracker, Tracking } from './cbt/tracking.js'
import type { AbortOptions } from './core/abort.js'
import { isNbdUri } from './core/nbd-uri.js'
import { isQcow2Name, qcow2PathOf } from './core/qcow2-name.js'
import type { TrackedDisk } from './hypervisor/point-in-time.js'
import { isMachineName, openMachine } from './open-machine.js'
import { nbdTracking } from './source/nbd-tracking.js'
import { plainTracking } from './source/plain-tracking.js'
import { qcow2Tracking } from './source/qcow2-tracking.js'

export interface CbtStatusOptions extends AbortOptions {
  /** As `backup` takes it. */
  readonly source: string
}

export interface CbtStatus extends Tracking {
  readonly operation: 'cbt-status'
}

/** The same of a machine, disk by disk. */
export interface CbtMachineStatus {
  readonly operation: 'cbt-status-machine'
  readonly machine: string
  readonly disks: readonly CbtDiskStatus[]
}

/** What tracks one disk of a machine: its trackers, and what keeps it from being tracked. */
export type CbtDiskStatus = Omit<TrackedDisk, 'image'>

/** Who looks at which names: one line for each kind of volume. What none of them knows is a path. */
const KINDS: readonly Kind[] = [
  { knows: isNbdUri, look: nbdTracking },
  { knows: isQcow2Name, look: qcow2Tracking },
]

interface Kind {
  readonly knows: (name: string) => boolean
  readonly look: (name: string, options?: AbortOptions) => Promise<Tracking>
}

/**
 * Tells what keeps account of the changes of a source, and what each tracker is good for at this moment.
 * Nothing is changed. Throws what opening the source throws.
 */
export async function cbtStatus({
  source,
  signal,
}: CbtStatusOptions): Promise<CbtStatus | CbtMachineStatus> {
  if (isMachineName(source)) return machineStatus(source, { signal })
  const kind = KINDS.find(({ knows }) => knows(source))
  const look = kind?.look ?? plainTracking
  return { operation: 'cbt-status', ...(await look(source, { signal })) }
}

async function machineStatus(name: string, options: AbortOptions): Promise<CbtMachineStatus> {
  await using machine = await openMachine(name, options)
  const disks: CbtDiskStatus[] = []
  for (const { image, ...disk } of await machine.tracked(options)) {
    disks.push(image === null ? disk : await withImage(disk, image, options))
  }
  return { operation: 'cbt-status-machine', machine: name, disks }
}

/** Of a disk that nobody has open, its image knows better than a list whether a bitmap is there. */
async function withImage(
  disk: CbtDiskStatus,
  image: string,
  options: AbortOptions,
): Promise<CbtDiskStatus> {
  const { trackers: bitmaps } = await qcow2Tracking(image, options)
  const listed = disk.trackers.map(tracker => {
    const bitmap = bitmaps.find(({ name }) => name === tracker.name)
    return bitmap === undefined ? tracker : asListed(tracker, bitmap)
  })
  const others = bitmaps.filter(({ name }) => !disk.trackers.some(tracker => tracker.name === name))
  const path = qcow2PathOf(image)
  return { ...disk, trackers: [...listed, ...others.map(bitmap => asUnlisted(bitmap, path))] }
}

/** Without its checkpoint a bitmap is not used: of which disk it was, nobody knows. */
function asUnlisted(bitmap: Tracker, path: string): Tracker {
  if (!bitmap.isOwn) return bitmap
  const { name } = bitmap
  return {
    ...bitmap,
    dirtyBytes: null,
    health: 'lost',
    reason: 'the checkpoint of that name is gone',
    changes: null,
    remedy: `nothing uses it any more: qemu-img bitmap --remove ${path} ${name}`,
  }
}

/** What the image has of it; what is to be done is not what would be done for an image by itself. */
function asListed({ kind, isOwn, remedy }: Tracker, bitmap: Tracker): Tracker {
  const isFine = isOwn && bitmap.health !== 'lost'
  return { ...bitmap, kind, isOwn, changes: null, remedy: isFine ? null : remedy }
}
