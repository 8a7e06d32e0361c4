import { MoverError } from '../../core/errors.js'

/** What `qmp:PATH/NODE[,NODE…]` names. */
export interface QemuName {
  /** Of the monitor's socket. */
  readonly socket: string
  /** Nodes or devices, in order, none twice. */
  readonly disks: readonly string[]
}

/** As QEMU lets people name nodes, and as it names them itself: `#block123`. */
const DISK = /^(?:[A-Za-z][A-Za-z0-9._-]*|#block\d+)$/
const DISKS_MAX = 64

/** Splits a machine's name at its last slash. Throws ARGUMENT_INVALID for what is no such name. */
export function parseQemuName(name: string): QemuName {
  const [, socket = '', list = ''] = /^qmp:(.+)\/([^/]+)$/s.exec(name) ?? []
  if (socket === '') throw invalid(name, 'it is not qmp:PATH/NODE')
  const disks = list.split(',')
  const unlike = disks.find(disk => !isDiskName(disk))
  if (unlike !== undefined) throw invalid(name, `'${unlike}' is no name of a node or a device`)
  if (new Set(disks).size < disks.length) throw invalid(name, 'it names a disk twice')
  if (disks.length > DISKS_MAX) throw invalid(name, `it names more than ${DISKS_MAX} disks`)
  return { socket, disks }
}

/** Whether a machine's name can have it as a disk. */
export function isDiskName(name: string): boolean {
  return DISK.test(name)
}

function invalid(name: string, why: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `'${name}' does not name a machine: ${why}`, {
    remedy:
      'write qmp:PATH/NODE, or qmp:PATH/NODE,NODE for several disks at one moment; PATH is the socket ' +
      'of a QMP monitor, NODE a node or a device as query-block has it',
  })
}
