import type { AbortOptions } from './core/abort.js'
import { isNbdUri } from './core/nbd-uri.js'
import { isQcow2Name } from './core/qcow2-name.js'
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
]

interface Kind {
  readonly knows: (name: string) => boolean
  readonly look: (name: string, options?: AbortOptions) => Promise<Tracking>
}

/**
 * Tells what keeps account of the changes of a source, and what each tracker is good for at this moment.
 * Nothing is changed. Throws what opening the source throws.
 */
export async function cbtStatus({ source, signal }: CbtStatusOptions): Promise<CbtStatus> {
  const kind = KINDS.find(({ knows }) => knows(source))
  const look = kind?.look ?? plainTracking
  return { operation: 'cbt-status', ...(await look(source, { signal })) }
}
