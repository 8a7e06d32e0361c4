import type { AbortOptions } from './core/abort.js'
import { MoverError } from './core/errors.js'
import type { Machine } from './hypervisor/point-in-time.js'

/** What a hypervisor needs besides the machine's name. */
export interface MachineOptions extends AbortOptions {
  /** A folder of this host in which what the machine overwrites meanwhile is kept; see --scratch. */
  readonly scratch?: string | null
  /** Bytes of it to reserve for each disk; by default as many as the disk has. */
  readonly scratchBytes?: number | null
  /** The Unix socket of the NBD server that runs in the QEMU already. */
  readonly nbdSocket?: string | null
}

const SCHEMES: Readonly<Record<string, Opener>> = {
  qmp: async (name, options) =>
    (await import('./hypervisor/qemu/open-qemu.js')).openQemu(name, options),
  libvirt: async (name, options) =>
    (await import('./hypervisor/libvirt/open-domain.js')).openDomain(name, options),
}

type Opener = (name: string, options: MachineOptions) => Promise<Machine>

/** Whether `name` means a machine, and not a volume. */
export function isMachineName(name: string): boolean {
  return schemeOf(name) !== undefined
}

/**
 * Throws ARGUMENT_INVALID where a restore was to write to a machine: as a path it would be a file of that name,
 * and the machine would seem to be restored.
 */
export function refuseMachineTarget(name: string): void {
  if (!isMachineName(name)) return
  throw new MoverError('ARGUMENT_INVALID', `'${name}' is a machine, and no target`, {
    stage: 'open',
    remedy:
      'stop it, and write its disk: name qcow2:FILE, or the device; restore --domain-xml writes all ' +
      `disks of a domain to new files. A file of that name is ./${name}`,
  })
}

/** Finds the machine that `name` means. Throws ARGUMENT_INVALID, and what its hypervisor throws. */
export async function openMachine(name: string, options: MachineOptions = {}): Promise<Machine> {
  const open = SCHEMES[schemeOf(name) ?? '']
  if (open === undefined) {
    throw new MoverError('ARGUMENT_INVALID', `'${name}' does not name a machine`)
  }
  return open(name, options)
}

function schemeOf(name: string): string | undefined {
  const scheme = /^([a-z]+):/.exec(name)?.[1]
  return scheme !== undefined && Object.hasOwn(SCHEMES, scheme) ? scheme : undefined
}
