import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { isOwnName, type Tracker } from '../../cbt/tracking.js'
import type { MachineDisk, TrackedDisk } from '../point-in-time.js'
import { checkpointFacts, type CheckpointFacts } from './backup-xml.js'
import { refuseBusy } from './domain-job.js'
import type { OpenDomain } from './open-domain.js'
import { BROKEN_BITMAP } from './own-checkpoints.js'
import { refuseThreads } from './refuse-threads.js'

/** The checkpoints of the chosen disks; asks, and changes nothing. */
export async function trackedDisks(
  open: OpenDomain,
  options?: AbortOptions,
): Promise<readonly TrackedDisk[]> {
  const { domain, disks } = open
  const { isActive } = await domain.state(options)
  if (isActive) await refuseBusy(domain)
  const checkpoints: Checkpoint[] = []
  for (const name of await domain.checkpoints()) {
    const xml = await domain.checkpointXml(name, { hasSizes: isActive })
    checkpoints.push({ name, isActive, ...checkpointFacts(xml) })
  }
  const tracked: TrackedDisk[] = []
  for (const disk of disks) {
    const trackers = checkpoints.flatMap(checkpoint => trackerOf(checkpoint, disk))
    const image = isActive ? null : imageOf(open, disk)
    const words =
      (isActive ? await refusalOf(open, disk, options) : null) ?? wordsOf(open, disk, trackers)
    tracked.push({ ...disk, trackers, image, ...words })
  }
  return tracked
}

interface Checkpoint extends CheckpointFacts {
  readonly name: string
  readonly isActive: boolean
}

type Words = Pick<TrackedDisk, 'reason' | 'remedy'>

function trackerOf(
  { name, isActive, targets, sizes }: Checkpoint,
  { name: target }: MachineDisk,
): Tracker[] {
  if (!targets.includes(target)) return []
  const dirtyBytes = sizes.get(target) ?? null
  const isOwn = isOwnName(name)
  const isLost = dirtyBytes === null
  // Of a domain that is off it is known by its image alone.
  const reason = isActive ? BROKEN_BITMAP : 'bitmap-absent'
  return [
    {
      kind: 'libvirt-checkpoint',
      name,
      isOwn,
      granularityBytes: null,
      dirtyBytes,
      flags: [],
      health: isLost ? 'lost' : 'superset',
      reason: isLost ? reason : null,
      changes: null,
      remedy: isOwn ? (isLost ? LOST : null) : OTHERS,
    },
  ]
}

const LOST =
  'nothing: the next backup of the running domain to the repository and volume it belongs to removes it, ' +
  'reads the disk whole, and tracks it anew; ' +
  'if that comes again without a crash, find out who disables bitmaps or removes them'
const OTHERS = 'others made it: mover neither uses nor deletes it'

async function refusalOf(
  open: OpenDomain,
  { name }: MachineDisk,
  options?: AbortOptions,
): Promise<Words | null> {
  const disks = open.chosen.disks.filter(({ target }) => target === name)
  try {
    await refuseThreads({ ...open, chosen: { ...open.chosen, disks } }, options)
    return null
  } catch (error) {
    if (!(error instanceof MoverError) || error.code !== 'HYPERVISOR_REFUSED') throw error
    return { reason: error.message, remedy: error.remedy }
  }
}

function wordsOf(
  { chosen }: OpenDomain,
  { name }: MachineDisk,
  trackers: readonly Tracker[],
): Words {
  const untracked = chosen.untracked.get(name)
  if (untracked !== undefined) {
    const remedy = 'each backup reads all of it: an image of qcow2 version 3 would be tracked'
    return { reason: untracked, remedy }
  }
  if (trackers.some(({ isOwn }) => isOwn)) return { reason: null, remedy: null }
  return {
    reason: 'no-bitmap',
    remedy:
      'nothing: the next backup of the running domain reads all of it, and tracks it from there',
  }
}

function imageOf({ chosen }: OpenDomain, { name }: MachineDisk): string | null {
  const disk = chosen.disks.find(({ target }) => target === name)
  return disk?.format === 'qcow2' ? `qcow2:${disk.path}` : null
}
