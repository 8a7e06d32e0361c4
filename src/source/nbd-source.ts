import type { AbortOptions } from '../core/abort.js'
import { openNbdVolume } from '../native/nbd-volume.js'
import { bitsOf, readContext, type StateOfFlags } from './nbd-context.js'
import type { Source } from './source.js'

const ALLOCATION = 'base:allocation'

/** A hole without zeroes holds anything: only the second bit says what is read there. */
const stateOfAllocation: StateOfFlags = flags => (bitsOf(flags).bit1 ? 'zero' : 'data')

/**
 * A volume on an NBD server. Its size is fixed for the time of a connection; that it is frozen is the
 * server's part, as a snapshot's is.
 */
export async function openNbdSource(
  uri: string,
  { signal, name = uri }: AbortOptions & { readonly name?: string } = {},
): Promise<Source> {
  const opened = await openNbdVolume(uri, { name, role: 'source', contexts: [ALLOCATION], signal })
  const { handle, bytes, contexts } = opened
  const tellsHoles = contexts.includes(ALLOCATION)
  return {
    kind: 'nbd',
    name,
    volumeBytes: bytes,
    handle,
    identity: `nbd ${uri}`,
    allocated: (_within, options) =>
      tellsHoles
        ? readContext(opened, { ...options, context: ALLOCATION, stateOf: stateOfAllocation })
        : null,
    checkUnchanged() {
      // Nothing of it can be looked at again: a server that goes away fails the reads.
    },
    async [Symbol.asyncDispose]() {
      opened.close()
    },
  }
}
