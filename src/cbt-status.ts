import type { AbortOptions } from './core/abort.js'
import { MoverError } from './core/errors.js'
import { isNbdUri } from './core/nbd-uri.js'
import { isQcow2Name } from './core/qcow2-name.js'
import { isMachineName } from './open-machine.js'
import { nbdTracking } from './source/nbd-tracking.js'
import { plainTracking } from './source/plain-tracking.js'
import { qcow2Tracking } from './source/qcow2-tracking.js'
import type { Tracking } from './source/tracking.js'

export interface CbtStatusOptions extends AbortOptions {
  /** As `backup` takes it. */
  readonly source: string
}

export interface CbtStatus extends Tracking {
  readonly operation: 'cbt-status'
}

/** Who looks at which names: one line for each kind of source. What none of them knows is a path. */
const KINDS: readonly Kind[] = [
  { knows: isNbdUri, look: nbdTracking },
  { knows: isQcow2Name, look: qcow2Tracking },
  { knows: isMachineName, look: refuseMachine },
]

interface Kind {
  readonly knows: (name: string) => boolean
  readonly look: (name: string, options?: AbortOptions) => Promise<Tracking>
}

/**
 * Tells what keeps account of the changes of a source, and what each tracker is good for at this moment.
 * Nothing is changed. Throws what opening the source throws, and ARGUMENT_INVALID for a machine.
 */
export async function cbtStatus({ source, signal }: CbtStatusOptions): Promise<CbtStatus> {
  const kind = KINDS.find(({ knows }) => knows(source))
  const look = kind?.look ?? plainTracking
  return { operation: 'cbt-status', ...(await look(source, { signal })) }
}

/** A path of this name would not be found, which says nothing of the machine. */
async function refuseMachine(name: string): Promise<never> {
  throw new MoverError(
    'ARGUMENT_INVALID',
    `'${name}' is a machine, and cbt status looks at volumes`,
    {
      remedy:
        'its next backup says whether tracking holds; of one that is off, name a disk: qcow2:FILE',
    },
  )
}
