/**
 * QEMU before 9 ends with a failed assertion (nbd_blockdev_client_closed), and its guest with it, when a
 * client leaves an export that an iothread runs. A client leaves at the latest when it is killed, so such
 * a disk is not exported.
 */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { diskElements, targetOf } from './domain-disks.js'
import type { OpenDomain } from './open-domain.js'
import { attributeOf, childOf, childrenOf, type XmlElement } from './xml.js'

/** The first QEMU in which a client may leave from any thread, as libvirt counts: major × 1,000,000. */
const SAFE_VERSION = 9_000_000

/** Throws HYPERVISOR_REFUSED for a chosen disk that an iothread of an older QEMU serves. */
export async function refuseThreads(
  { domain, chosen: { description, disks } }: OpenDomain,
  options?: AbortOptions,
): Promise<void> {
  const threaded = threadedDisks(description)
  const disk = disks.find(({ target }) => threaded.has(target))
  if (disk === undefined) return
  const version = await domain.hypervisorVersion(options)
  if (version >= SAFE_VERSION) return
  const qemu = `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1000) % 1000}`
  throw new MoverError(
    'HYPERVISOR_REFUSED',
    `disk ${disk.target} of domain '${domain.name}' is served by an iothread, and QEMU ${qemu} may end, with its guest, when that is backed up`,
    {
      stage: 'open',
      remedy: 'run the domain with QEMU 9 or later, or the disk without iothread=; or shut it down',
    },
  )
}

/** Targets of the disks that an iothread serves: by themselves, or by the SCSI controller they are at. */
export function threadedDisks(description: XmlElement): ReadonlySet<string> {
  const controllers = childrenOf(childOf(description, 'devices'), 'controller')
  const threaded = new Set(
    controllers
      .filter(controller => attributeOf(controller, 'type') === 'scsi' && hasThread(controller))
      .map(controller => attributeOf(controller, 'index') ?? '0'),
  )
  const isThreaded = (disk: XmlElement) => {
    if (hasThread(disk)) return true
    if (attributeOf(childOf(disk, 'target'), 'bus') !== 'scsi') return false
    return threaded.has(attributeOf(childOf(disk, 'address'), 'controller') ?? '0')
  }
  return new Set(diskElements(description).filter(isThreaded).map(targetOf))
}

function hasThread(device: XmlElement): boolean {
  const driver = childOf(device, 'driver')
  return attributeOf(driver, 'iothread') !== null || childOf(driver, 'iothreads') !== null
}
