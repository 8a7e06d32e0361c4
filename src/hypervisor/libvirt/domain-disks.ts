/** The disks of a domain, as its description tells them. */
import { statSync } from 'node:fs'
import { MoverError } from '../../core/errors.js'
import { invariant } from '../../core/invariant.js'
import type { OpenDomain } from './open-domain.js'
import type { QemuOwner } from './scratch-folder.js'
import { attributeOf, childOf, childrenOf, type XmlElement } from './xml.js'

/** A disk that a backup can have. */
export interface DomainDisk {
  /** As the guest's bus names it, such as `vda`: what libvirt knows the disk by. */
  readonly target: string
  /** Where its bytes lie: a file, or a block device. */
  readonly type: 'file' | 'block'
  readonly path: string
  /** Images below it, as far as the description tells them: that of a running domain does. */
  readonly below: readonly string[]
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

/** Who a running domain's QEMU runs as; null where its description does not say. */
export function qemuOwner(domain: XmlElement): QemuOwner | null {
  const labels = childrenOf(domain, 'seclabel').filter(
    label => attributeOf(label, 'model') === 'dac',
  )
  const label = labels.map(one => childOf(one, 'label')?.text ?? '').find(text => text !== '')
  const [, uid, gid] = /^\+(\d{1,10}):\+(\d{1,10})$/.exec(label ?? '') ?? []
  return uid === undefined || gid === undefined ? null : { uid: Number(uid), gid: Number(gid) }
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

/** Which disk it is, for a manifest. */
export function diskIdentity({ domain, chosen }: OpenDomain, target: string): string {
  const disk = chosen.disks.find(one => one.target === target)
  invariant(disk !== undefined, 'a disk that is backed up was chosen')
  const serial = disk.serial === null ? '' : ` serial ${disk.serial}`
  const wwn = disk.wwn === null ? '' : ` wwn ${disk.wwn}`
  return `libvirt domain ${domain.uuid} disk ${target}${serial}${wwn} ${placeOf(disk.path)}`
}

/** Bytes of a disk that is meant. */
export function volumeBytesOf({ disks }: OpenDomain, target: string): number {
  const disk = disks.find(({ name }) => name === target)
  invariant(disk !== undefined, 'a disk that is backed up was opened')
  return disk.volumeBytes
}

/** Where a disk lay of which `diskIdentity` gave this; null where it is none of a domain of libvirt. */
export function placeOfIdentity(identity: string): string | null {
  const place = /^libvirt domain [-0-9a-f]{36} disk .*? ((?:file \d+ of \d+ )?at \/.*)$/s
  return place.exec(identity)?.[1] ?? null
}

/**
 * The place that a path is. A file is more than its path: another one may have been put there. Its device's
 * number says nothing, which a restart may change, and when it was made tells it from one of another device.
 */
export function placeOf(path: string): string {
  const place = `at ${path}`
  try {
    const seen = statSync(path, { bigint: true })
    return seen.isFile() ? `file ${seen.ino} of ${seen.birthtimeNs} ${place}` : place
  } catch {
    return place
  }
}

/** The disk that an identity names; null where it is none of a domain of libvirt. */
export function diskOfIdentity(identity: string): string | null {
  return /^libvirt domain [-0-9a-f]{36} disk (\w+) /.exec(identity)?.[1] ?? null
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
  return {
    target,
    type: attributeOf(element, 'type') === 'block' ? 'block' : 'file',
    path: pathOf(element) ?? '',
    below: pathsBelow(element),
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
  const type = attributeOf(disk, 'type') ?? 'file'
  if (type !== 'file' && type !== 'block') return `it is of type ${type}, not a file or device here`
  return pathOf(disk) === null ? 'nothing is in it' : null
}

/** Of a disk, or of an image below one. */
function pathOf(element: XmlElement): string | null {
  const name = attributeOf(element, 'type') === 'block' ? 'dev' : 'file'
  return attributeOf(childOf(element, 'source'), name)
}

function pathsBelow(disk: XmlElement): readonly string[] {
  const below = childOf(disk, 'backingStore')
  if (below === null) return []
  // An empty element is where the chain ends; of a place that is no path nothing can be said.
  const path = pathOf(below)
  return [...(path === null ? [] : [path]), ...pathsBelow(below)]
}
