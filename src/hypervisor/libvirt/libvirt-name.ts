/** Names of domains and of their disks: `libvirt:DOMAIN[/DISK[,DISK…]][?socket=PATH]`. */
import { MoverError } from '../../core/errors.js'

/** What a name means. */
export interface LibvirtName {
  readonly domain: string
  /** Targets of the named disks; null where all are meant. */
  readonly disks: readonly string[] | null
  /** Where libvirt listens; null where it is looked for. */
  readonly socket: string | null
}

const NAME = /^libvirt:([^/?#]+)(?:\/([^?#]*))?(?:\?socket=([^&#]+))?$/

/** Names are percent-encoded. Throws ARGUMENT_INVALID for what means no domain. */
export function parseLibvirtName(name: string): LibvirtName {
  const [, domain, disks, socket] = NAME.exec(name) ?? []
  if (domain === undefined) throw invalid(name)
  const targets = disks?.split(',').map(target => decoded(target, name)) ?? null
  if (targets?.some(target => !/^\w+$/.test(target)) === true) throw invalid(name)
  if (new Set(targets).size !== (targets?.length ?? 0)) {
    throw new MoverError('ARGUMENT_INVALID', `'${name}' names a disk twice`)
  }
  return {
    domain: decoded(domain, name),
    disks: targets,
    socket: socket === undefined ? null : decoded(socket, name),
  }
}

function decoded(text: string, name: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid(name)
  }
}

function invalid(name: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `'${name}' does not name a domain of libvirt`, {
    remedy:
      'write libvirt:DOMAIN for all of its disks or libvirt:DOMAIN/vda,vdb for some of them, ' +
      '?socket=PATH after it for another libvirt, and %20 for a space',
  })
}
