import { MoverError } from '../../core/errors.js'
import type { FrozenDisk, PointInTime } from '../point-in-time.js'
import { domainAttachments } from './domain-attachments.js'
import { diskIdentity, type DomainDisk } from './domain-disks.js'
import type { OpenDomain } from './open-domain.js'
import { newCheckpointName } from './own-checkpoints.js'

/**
 * A point in time of a domain that does not run: its disks as they lie. libvirt makes no checkpoint of
 * those, so they are read whole; the checkpoints that there are stay, and the next backup of the running
 * domain counts from them.
 */
export async function beginOffline(open: OpenDomain): Promise<PointInTime> {
  const { domain, chosen } = open
  const name = newCheckpointName()
  return {
    attachments: await domainAttachments(domain),
    disks: chosen.disks.map(disk => frozenDisk(disk, { open, name })),
    async check() {
      if (!(await domain.state()).isActive) return
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
  disk: DomainDisk,
  { open, name }: { readonly open: OpenDomain; readonly name: string },
): FrozenDisk {
  const { target } = disk
  return {
    name: target,
    volumeBytes: open.disks.find(one => one.name === target)?.volumeBytes ?? 0,
    source: placeOf(disk),
    identity: diskIdentity(open, target),
    checkpoint: name,
    tracking: { kind: 'lost', reason: 'the domain is off, and libvirt tracks running ones only' },
  }
}

/** As `openSource` takes it. */
function placeOf({ target, format, path }: DomainDisk): string {
  if (format === 'raw') return path
  if (format === 'qcow2') return `qcow2:${path}`
  throw new MoverError('SOURCE_UNUSABLE', `disk ${target} is ${format}, and its domain is off`, {
    stage: 'open',
    remedy: 'start the domain, so that its disks can be read through QEMU',
  })
}
