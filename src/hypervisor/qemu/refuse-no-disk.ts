import { stat } from 'node:fs/promises'
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { readBlockState, readDevices } from './block-state.js'
import { isDiskName } from './qemu-name.js'
import { QmpLine } from './qmp-line.js'

/** Said at most; a machine may have thousands of nodes. */
const NAMES_MAX = 32

/**
 * Throws ARGUMENT_INVALID for `qmp:PATH` without a disk, with the disks that the machine has. Its last part
 * would be taken for the disk, and its folder for the socket. What is no socket, or cannot be looked at,
 * is left to whoever opens it.
 */
export async function refuseNoDisk(name: string, options?: AbortOptions): Promise<void> {
  const path = name.replace(/^qmp:/, '').replace(/\/+$/, '')
  if (path === '' || !(await isSocket(path))) return
  const names = await disksAt(path, options).catch(nothing)
  const which =
    names.length > 0
      ? `with one of ${names.join(', ')}`
      : 'with a node or a device: query-named-block-nodes and query-block say what there is'
  throw new MoverError('ARGUMENT_INVALID', `'${name}' names no disk of the machine`, {
    remedy: `write qmp:PATH/NODE, ${which}`,
  })
}

/** It may be no QMP, or somebody else's at the moment: the name is wrong all the same. */
function nothing(error: unknown): readonly string[] {
  if (error instanceof MoverError && error.code === 'CANCELLED') throw error
  return []
}

async function isSocket(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isSocket()
  } catch {
    return false
  }
}

/** The guest's devices and their nodes; in a storage daemon, which has none, all that somebody named. */
async function disksAt(path: string, options?: AbortOptions): Promise<readonly string[]> {
  await using line = await QmpLine.open(path, options)
  const qmp = await line.client(options)
  const devices = await readDevices(qmp, options)
  if (devices.size > 0) {
    const nodes = [...devices.values()].map(({ node }) => node)
    return [...new Set([...devices.keys(), ...nodes])].filter(isOffered).slice(0, NAMES_MAX)
  }
  const { nodes } = await readBlockState(qmp, options)
  return [...nodes.keys()].filter(isOffered).slice(0, NAMES_MAX)
}

/** Our own are of a run, and none of the machine's. */
function isOffered(name: string): boolean {
  return isDiskName(name) && !name.startsWith('mover-')
}
