/** What the disks of a domain are restored to, and what has to be told of that before it is begun. */
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { MoverError } from './core/errors.js'
import { isNbdUri } from './core/nbd-uri.js'
import type { WarningEvent } from './core/progress.js'
import { isQcow2Name, qcow2PathOf } from './core/qcow2-name.js'
import type { OldDisk, RestoredPlace } from './hypervisor/libvirt/restored-domain-xml.js'
import { refuseMachineTarget } from './open-machine.js'

/** One disk's: an absolute path, because libvirt takes no other. */
export interface DiskTarget {
  readonly path: string
  readonly format: RestoredPlace['format']
}

export interface DomainPlaces {
  /** The disks that are restored. */
  readonly members: readonly string[]
  /** Those that the description has. */
  readonly old: ReadonlyMap<string, OldDisk>
  readonly folder: string
  /** Named for some of them. */
  readonly places: Readonly<Record<string, string>>
  /** Where the description goes. */
  readonly domainXml: string
}

/**
 * The targets by their disks; each keeps its format where no place is named for it. Throws ARGUMENT_INVALID
 * for what libvirt could not have as a disk, and where two of them are one.
 */
export async function domainTargets(
  options: DomainPlaces,
): Promise<ReadonlyMap<string, DiskTarget>> {
  const { members, old, folder, places, domainXml } = options
  refusePlaces(options)
  const placeOf = (disk: string) =>
    places[disk] ??
    (old.get(disk)?.isImage === true
      ? `qcow2:${join(folder, `${disk}.qcow2`)}`
      : join(folder, `${disk}.raw`))
  const targets = new Map(members.map(disk => [disk, diskTarget(placeOf(disk))]))
  const whose = new Map([[await keyOf(resolve(domainXml)), 'the description']])
  for (const [disk, { path }] of targets) {
    const key = await keyOf(path)
    const other = whose.get(key)
    if (other !== undefined) {
      throw new MoverError(
        'ARGUMENT_INVALID',
        `disk ${disk} and ${other} cannot both go to ${path}`,
      )
    }
    whose.set(key, `disk ${disk}`)
  }
  return targets
}

function refusePlaces({ members, folder, places }: DomainPlaces): void {
  refuseMachineTarget(folder)
  if (isQcow2Name(folder) || isNbdUri(folder)) {
    throw new MoverError('ARGUMENT_INVALID', `'${folder}' is no folder for the disks of a domain`, {
      remedy: 'name a folder; --disk DISK=TARGET puts one of them elsewhere',
    })
  }
  for (const [disk, place] of Object.entries(places)) {
    refuseMachineTarget(place)
    if (members.includes(disk) && !isNbdUri(place)) continue
    const why = members.includes(disk)
      ? 'libvirt needs a file or a device'
      : 'there is no such disk'
    throw new MoverError('ARGUMENT_INVALID', `disk ${disk} cannot go to ${place}: ${why}`)
  }
}

function diskTarget(place: string): DiskTarget {
  return isQcow2Name(place)
    ? { path: resolve(qcow2PathOf(place)), format: 'qcow2' }
    : { path: resolve(place), format: 'raw' }
}

/** The same of two paths that mean one file or device, whatever links are on the way. */
async function keyOf(path: string): Promise<string> {
  try {
    const seen = await stat(path)
    return seen.isBlockDevice() ? `device ${seen.rdev}` : `file ${seen.dev} ${seen.ino}`
  } catch {
    const folder = await realpath(dirname(path)).catch(() => dirname(path))
    return join(folder, basename(path))
  }
}

/** What the domain will not be as it was, though all bytes come back. */
export function* lostQualities(
  targets: ReadonlyMap<string, DiskTarget>,
  old: ReadonlyMap<string, OldDisk>,
): Generator<WarningEvent> {
  for (const [disk, { path, format }] of targets) {
    const was = old.get(disk)
    if (was?.isImage === true && format === 'raw') {
      const message =
        `disk ${disk} was a qcow2 image, and ${path} is raw: it keeps no bitmap over a restart, and is then ` +
        `read whole at its backup; --disk ${disk}=qcow2:FILE makes an image again`
      yield { type: 'warning', code: 'FORMAT_CHANGED', message }
    }
    if (was?.isEncrypted !== true) continue
    const message = `disk ${disk} was encrypted, and is written to ${path} as the guest saw it: in plain`
    yield { type: 'warning', code: 'NOT_ENCRYPTED', message }
  }
}
