import { MoverError } from '../../core/errors.js'
import { invariant } from '../../core/invariant.js'
import type { BeginRequest, FrozenDisk, PointInTime } from '../point-in-time.js'
import { countedSince, type CountedSince } from './counted-since.js'
import { diskMarks, refuseWritten } from './disk-marks.js'
import { domainAttachments } from './domain-attachments.js'
import { diskIdentity, volumeBytesOf, type DomainDisk } from './domain-disks.js'
import type { OpenDomain } from './open-domain.js'
import { newCheckpointName, ownCheckpoints } from './own-checkpoints.js'

/**
 * A point in time of a domain that does not run: its disks as they lie. libvirt makes no checkpoint of
 * those; the ones that there are stay, and the next backups count from them, of the images while the
 * domain is off and of the domain when it runs.
 */
export async function beginOffline(
  open: OpenDomain,
  { histories }: BeginRequest,
): Promise<PointInTime> {
  const { domain } = open
  // One moment of all disks, though they are read one after the other.
  const marks = diskMarks(open)
  const name = newCheckpointName()
  const checkpoints = await ownCheckpoints(domain)
  return {
    attachments: await domainAttachments(domain),
    disks: histories.map(history => {
      const counted = countedSince(history, open, checkpoints)
      return frozenDisk(history.disk, { open, name, counted })
    }),
    async check() {
      if (!(await domain.state()).isActive) {
        refuseWritten(open, marks)
        return
      }
      const message = `domain '${domain.name}' was started while its disks were read`
      throw new MoverError('SOURCE_CHANGED', message, {
        stage: 'read',
        retryable: true,
        remedy: 'back it up again: it runs now, so that libvirt can freeze its disks',
      })
    },
    committed: async () => {},
    async [Symbol.asyncDispose]() {
      // Nothing was begun.
    },
  }
}

function frozenDisk(
  target: string,
  parts: {
    readonly open: OpenDomain
    readonly name: string
    readonly counted: CountedSince
  },
): FrozenDisk {
  const { open, name, counted } = parts
  const disk = open.chosen.disks.find(one => one.target === target)
  invariant(disk !== undefined, 'a disk that is backed up was chosen')
  const { since } = counted
  return {
    name: target,
    volumeBytes: volumeBytesOf(open, target),
    source: sourceOf(disk),
    identity: diskIdentity(open, target),
    checkpoint: name,
    // Only what QEMU would believe of the image is believed, when it is looked at.
    tracking:
      since === null
        ? { kind: 'lost', reason: counted.reason }
        : { kind: 'image', path: disk.path, since },
  }
}

/** As `openSource` takes it. */
function sourceOf({ target, format, path }: DomainDisk): string {
  if (format === 'raw') return path
  if (format === 'qcow2') return `qcow2:${path}`
  throw new MoverError('SOURCE_UNUSABLE', `disk ${target} is ${format}, and its domain is off`, {
    stage: 'open',
    remedy: 'start the domain, so that its disks can be read through QEMU',
  })
}
