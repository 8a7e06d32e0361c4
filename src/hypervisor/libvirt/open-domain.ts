import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import type { BeginRequest, Machine, MachineDisk, PointInTime } from '../point-in-time.js'
import { beginOffline } from './begin-offline.js'
import { beginRunning } from './begin-running.js'
import { LibvirtConnection } from './connection.js'
import { chooseDisks, type ChosenDisks } from './choose-disks.js'
import { Domain } from './domain.js'
import { parseLibvirtName } from './libvirt-name.js'
import { trackedDisks } from './tracked-disks.js'
import { parseXml } from './xml.js'

export interface DomainOptions extends AbortOptions {
  /** A folder for what the guest overwrites while it is read; needed where the domain runs. */
  readonly scratch?: string | null
  /** Bytes that have to be free in it for each disk; else as many as the disk has are asked for, with a warning. */
  readonly scratchBytes?: number | null
  /** Not of a domain: libvirt serves each disk where mover tells it to. */
  readonly nbdSocket?: string | null
}

/** A domain of libvirt, and those of its disks that are meant. */
export interface OpenDomain {
  readonly domain: Domain
  readonly chosen: ChosenDisks
  readonly disks: readonly MachineDisk[]
  readonly options: DomainOptions
}

/**
 * Finds the domain that `libvirt:DOMAIN[/DISK,…][?socket=PATH]` means, running or not. Throws
 * ARGUMENT_INVALID, and HYPERVISOR_REFUSED or HYPERVISOR_FAILED as libvirt says.
 */
export async function openDomain(name: string, options: DomainOptions): Promise<Machine> {
  const { domain: domainName, disks: named, socket } = parseLibvirtName(name)
  const { signal, nbdSocket = null } = options
  if (nbdSocket !== null) {
    throw new MoverError('ARGUMENT_INVALID', 'a domain of libvirt needs no socket for NBD', {
      remedy: 'leave out --nbd-socket: libvirt serves in the scratch folder',
    })
  }
  const sockets = socket === null ? undefined : [socket]
  const connection = await LibvirtConnection.open(sockets, { signal })
  try {
    const domain = await Domain.lookup(connection, domainName, { signal })
    const chosen = chooseDisks(parseXml(await domain.xml({ isInactive: false })), named)
    const disks: MachineDisk[] = []
    for (const { target } of chosen.disks) {
      const { capacity } = await domain.blockInfo(target, { signal })
      disks.push({ name: target, volumeBytes: capacity })
    }
    const open: OpenDomain = { domain, chosen, disks, options }
    return {
      name,
      disks,
      isOneDisk: named?.length === 1,
      begin: request => begin(open, request),
      tracked: tracking => trackedDisks(open, tracking),
      [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
    }
  } catch (error) {
    await connection[Symbol.asyncDispose]()
    throw error
  }
}

async function begin(open: OpenDomain, request: BeginRequest): Promise<PointInTime> {
  const { domain, chosen } = open
  for (const { target, reason } of chosen.leftOut) {
    const message = `disk ${target} of domain '${domain.name}' is not backed up: ${reason}`
    request.emit({ type: 'warning', code: 'DISK_LEFT_OUT', message })
  }
  const { isActive } = await domain.state({ signal: request.signal })
  return isActive ? await beginRunning(open, request) : await beginOffline(open, request)
}
