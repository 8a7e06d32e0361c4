import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import type { Machine } from '../point-in-time.js'
import {
  readBlockState,
  readDevices,
  type BlockNode,
  type BlockState,
  type Device,
} from './block-state.js'
import { beginPointInTime } from './begin-point-in-time.js'
import { fleeceNames } from './fleece-names.js'
import { parseQemuName } from './qemu-name.js'
import { refuseNoDisk } from './refuse-no-disk.js'
import { QmpLine } from './qmp-line.js'
import { trackedDisks } from './tracked-disks.js'

export interface QemuOptions extends AbortOptions {
  /** Where overwritten bytes are kept: a folder that QEMU can write to as well. */
  readonly scratch?: string | null | undefined
  /** Reserved there for each disk; by default as much as it has. */
  readonly scratchBytes?: number | null | undefined
  /** The Unix socket of the NBD server of that QEMU, where it has one; by default mover starts it. */
  readonly nbdSocket?: string | null | undefined
}

/** What is known of a disk that was asked for. */
export interface QemuDisk {
  /** As it was asked for. */
  readonly name: string
  /** The node on which its bitmaps are. */
  readonly node: string
  readonly volumeBytes: number
  /** Path of the guest's device that has it, in QEMU's object model; null where none is known to. */
  readonly qdev: string | null
  /** Whether its bitmaps outlive QEMU. */
  readonly keepsBitmaps: boolean
}

/** Survives reboots, and is larger than what is kept in memory. */
const SCRATCH_DEFAULT = '/var/tmp'

/**
 * Opens a machine by its QMP socket and finds the disks that were asked for, each by the name of its node
 * or of the guest's device. Throws ARGUMENT_INVALID for what is no such name, HYPERVISOR_REFUSED for a
 * disk that the guest does not write to, SOURCE_UNUSABLE for one that is not there, and HYPERVISOR_FAILED.
 */
export async function openQemu(name: string, options: QemuOptions = {}): Promise<Machine> {
  const { signal } = options
  await refuseNoDisk(name, { signal })
  const { socket, disks: asked } = parseQemuName(name)
  const line = await QmpLine.open(socket, { signal })
  try {
    const qmp = await line.client({ signal })
    const state = await readBlockState(qmp, { signal })
    const devices = await readDevices(qmp, { signal })
    const disks = asked.map(disk => findDisk(disk, { state, devices }))
    refuseTwice(disks)
    return {
      name,
      disks,
      isOneDisk: disks.length === 1,
      begin: request =>
        beginPointInTime({
          line,
          disks,
          scratch: options.scratch ?? SCRATCH_DEFAULT,
          scratchBytes: options.scratchBytes ?? null,
          nbdSocket: options.nbdSocket ?? null,
          ...request,
        }),
      tracked: async tracking => trackedDisks(await line.client(tracking), disks, tracking),
      [Symbol.asyncDispose]: () => line[Symbol.asyncDispose](),
    }
  } catch (error) {
    await line[Symbol.asyncDispose]()
    throw error
  }
}

interface Found {
  readonly state: BlockState
  readonly devices: ReadonlyMap<string, Device>
}

function findDisk(name: string, { state: { nodes }, devices }: Found): QemuDisk {
  const top = nodes.get(devices.get(name)?.node ?? name)
  const node = top === undefined ? undefined : belowOurFilter(top, nodes)
  if (node === undefined) {
    throw new MoverError('SOURCE_UNUSABLE', `the machine has neither node nor device '${name}'`, {
      stage: 'open',
      remedy: 'query-block and query-named-block-nodes say what there is',
    })
  }
  const { volumeBytes, keepsBitmaps } = node
  const device = [...devices.values()].find(found => found.node === top?.name)
  return { name, node: node.name, qdev: device?.qdev ?? null, volumeBytes, keepsBitmaps }
}

/** A device and its node are one disk, which is frozen once. */
function refuseTwice(disks: readonly QemuDisk[]): void {
  const byNode = new Map<string, string>()
  for (const { name, node } of disks) {
    const other = byNode.get(node)
    if (other !== undefined) {
      throw new MoverError('ARGUMENT_INVALID', `'${other}' and '${name}' are one disk`, {
        remedy: 'name each disk once, by its node or by its device',
      })
    }
    byNode.set(node, name)
  }
}

/** A killed run has left its filter on top of the disk; our names tell of which. */
function belowOurFilter(
  top: BlockNode,
  nodes: ReadonlyMap<string, BlockNode>,
): BlockNode | undefined {
  if (top.driver !== 'copy-before-write') return top
  return [...nodes.values()].find(({ name }) => fleeceNames(name).filter === top.name) ?? top
}
