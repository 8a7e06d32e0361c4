import { createHash } from 'node:crypto'

/**
 * What mover calls its things in QEMU for one disk. The names are fixed by the disk, so that QEMU itself
 * lets one run at a time have it; QEMU takes node names of up to 31 characters.
 */
export interface FleeceNames {
  /** The scratch file: made first and removed last, so that it is there whenever anything is. */
  readonly file: string
  /** The scratch file as an overlay of the disk: the frozen view. */
  readonly overlay: string
  /** The filter that copies before the guest writes. */
  readonly filter: string
  readonly job: string
  /** The job that makes the scratch file. */
  readonly create: string
  readonly export: string
  /** What ends them all: 16 hex digits. */
  readonly suffix: string
}

const FILE = /^mover-f-([0-9a-f]{16})$/

/** The names that go with a disk's node. */
export function fleeceNames(node: string): FleeceNames {
  return namesOf(createHash('sha256').update(node).digest('hex').slice(0, 16))
}

/** The names of a fleece that is found by its scratch file; null where the node is no such file. */
export function fleeceOfFile(node: string): FleeceNames | null {
  const suffix = FILE.exec(node)?.[1]
  return suffix === undefined ? null : namesOf(suffix)
}

function namesOf(suffix: string): FleeceNames {
  return {
    file: `mover-f-${suffix}`,
    overlay: `mover-o-${suffix}`,
    filter: `mover-c-${suffix}`,
    job: `mover-j-${suffix}`,
    create: `mover-n-${suffix}`,
    export: `mover-e-${suffix}`,
    suffix,
  }
}
