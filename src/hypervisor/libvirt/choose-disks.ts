import { closeSync, openSync, readSync } from 'node:fs'
import { MoverError } from '../../core/errors.js'
import {
  diskElements,
  disksOf,
  targetOf,
  type DomainDisk,
  type LeftOutDisk,
} from './domain-disks.js'
import type { XmlElement } from './xml.js'

/** Which disks of a domain are backed up, and what is known of them. */
export interface ChosenDisks {
  readonly description: XmlElement
  readonly disks: readonly DomainDisk[]
  readonly leftOut: readonly LeftOutDisk[]
  /** Of all disks, cdroms and floppies. */
  readonly allTargets: readonly string[]
  /** Why libvirt cannot keep a bitmap of a disk, by its target. */
  readonly untracked: ReadonlyMap<string, string>
}

/**
 * Takes the named disks, or all that can be backed up. Throws ARGUMENT_INVALID for one that is not there,
 * and HYPERVISOR_REFUSED for one that was named and cannot be backed up, and where there is none at all.
 */
export function chooseDisks(description: XmlElement, named: readonly string[] | null): ChosenDisks {
  const { disks, leftOut } = disksOf(description)
  const allTargets = diskElements(description).map(targetOf)
  for (const target of named ?? []) {
    if (!allTargets.includes(target)) {
      throw new MoverError('ARGUMENT_INVALID', `the domain has no disk ${target}`, {
        remedy: `name some of ${allTargets.join(', ')}`,
      })
    }
    const reason = leftOut.find(disk => disk.target === target)?.reason
    if (reason !== undefined) {
      throw new MoverError('HYPERVISOR_REFUSED', `disk ${target} cannot be backed up: ${reason}`)
    }
  }
  const chosen = named === null ? disks : disks.filter(({ target }) => named.includes(target))
  if (chosen.length === 0) {
    throw new MoverError('HYPERVISOR_REFUSED', 'the domain has no disk that can be backed up')
  }
  return {
    description,
    disks: chosen,
    leftOut: named === null ? leftOut : [],
    allTargets,
    untracked: new Map(chosen.flatMap(whyUntracked)),
  }
}

/** Bitmaps live in qcow2 images, of version 3. */
function whyUntracked({ target, format, path }: DomainDisk): [string, string][] {
  if (format !== 'qcow2') return [[target, `an image of format ${format} keeps no bitmaps`]]
  return qcow2Version(path) === 2 ? [[target, 'an image of qcow2 version 2 keeps no bitmaps']] : []
}

/** What the header says; null where it cannot be read here: libvirt then says what it can do. */
function qcow2Version(path: string): number | null {
  const header = Buffer.alloc(8)
  try {
    const file = openSync(path, 'r')
    try {
      readSync(file, header)
    } finally {
      closeSync(file)
    }
  } catch {
    return null
  }
  return header.subarray(0, 4).toString('latin1') === 'QFI\u00fb' ? header.readUInt32BE(4) : null
}
