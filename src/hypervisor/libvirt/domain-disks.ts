/** The disks of a domain, as its description tells them. */
import { MoverError } from '../../core/errors.js'
import { attributeOf, childOf, childrenOf, type XmlElement } from './xml.js'

/** A disk that a backup can have. */
export interface DomainDisk {
  /** As the guest's bus names it, such as `vda`: what libvirt knows the disk by. */
  readonly target: string
  /** Where its bytes lie: a file, or a block device. */
  readonly type: 'file' | 'block'
  readonly path: string
  readonly format: string
  /** What the guest sees of it; null where the description names none. */
  readonly serial: string | null
  readonly wwn: string | null
}

/** A disk that a backup leaves out, and why. */
export interface LeftOutDisk {
  readonly target: string
  readonly reason: string
}

export interface DomainDisks {
  readonly disks: readonly DomainDisk[]
  readonly leftOut: readonly LeftOutDisk[]
}

/** Reads all disks of a domain's description. HYPERVISOR_FAILED where one has no name. */
export function disksOf(domain: XmlElement): DomainDisks {
  const disks: DomainDisk[] = []
  const leftOut: LeftOutDisk[] = []
  for (const element of diskElements(domain)) {
    const target = targetOf(element)
    const reason = whyLeftOut(element)
    if (reason !== null) leftOut.push({ target, reason })
    else disks.push(diskOf(element, target))
  }
  return { disks, leftOut }
}

/** The elements of all disks, cdroms and floppies. */
export function diskElements(domain: XmlElement): readonly XmlElement[] {
  return childrenOf(childOf(domain, 'devices'), 'disk')
}

/** The name by which libvirt knows a disk. */
export function targetOf(disk: XmlElement): string {
  const target = attributeOf(childOf(disk, 'target'), 'dev')
  if (target === null || !/^[a-zA-Z0-9_]+$/.test(target)) {
    throw new MoverError('HYPERVISOR_FAILED', `a disk of the domain is called '${target}'`)
  }
  return target
}

function diskOf(element: XmlElement, target: string): DomainDisk {
  const source = childOf(element, 'source')
  const isBlock = attributeOf(element, 'type') === 'block'
  return {
    target,
    type: isBlock ? 'block' : 'file',
    path: attributeOf(source, isBlock ? 'dev' : 'file') ?? '',
    format: attributeOf(childOf(element, 'driver'), 'type') ?? 'raw',
    serial: childOf(element, 'serial')?.text ?? null,
    wwn: childOf(element, 'wwn')?.text ?? null,
  }
}

function whyLeftOut(disk: XmlElement): string | null {
  const device = attributeOf(disk, 'device') ?? 'disk'
  if (device !== 'disk') return `it is a ${device}`
  if (childOf(disk, 'readonly') !== null) return 'it is read-only'
  if (childOf(disk, 'transient') !== null) return 'it is transient: its changes are thrown away'
  const source = childOf(disk, 'source')
  const type = attributeOf(disk, 'type') ?? 'file'
  if (type !== 'file' && type !== 'block') return `it is of type ${type}, not a file or device here`
  const path = attributeOf(source, type === 'block' ? 'dev' : 'file')
  return path === null ? 'nothing is in it' : null
}
