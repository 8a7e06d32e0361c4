import { BatchedExtents } from '../cbt/batched-extents.js'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { ExtentState, StatedExtent } from '../core/extent.js'
import { native, type NbdInfo } from '../native/addon.js'

/** Before the name of a dirty bitmap of QEMU's, the name of its metadata context (docs/interop/nbd.txt of QEMU). */
export const DIRTY_BITMAPS = 'qemu:dirty-bitmap:'

/** What the flags of one metadata context say of a run of bytes. */
export type StateOfFlags = (flags: number) => ExtentState

/** What is read of an open volume, and how it is understood. */
export interface ContextReading extends AbortOptions {
  readonly context: string
  readonly stateOf: StateOfFlags
}

/** A reply may have 131,072 runs or more; as objects all at once they would be what takes the most memory. */
const BATCH_EXTENTS = 1024

/**
 * What one context of an NBD server says of the whole volume, in order, without gaps, neighbours of one
 * state joined; in batches. Each context is walked by itself, because replies cover different
 * lengths for each of them.
 */
export function readContext(
  volume: Pick<NbdInfo, 'handle' | 'bytes'>,
  reading: ContextReading,
): BatchedExtents {
  return new BatchedExtents(() => replies(volume, reading))
}

async function* replies(
  { handle, bytes }: Pick<NbdInfo, 'handle' | 'bytes'>,
  { context, stateOf, signal }: ContextReading,
): AsyncGenerator<StatedExtent[]> {
  let pending = null as StatedExtent | null
  let offset = 0
  const ask = (from: number) => {
    const runs = native(addon => addon.blockStatus(handle, context, from), 'plan')
    runs.catch(() => {}) // Awaited in its turn below; whoever reads no further need not know.
    return runs
  }
  let next = bytes > 0 ? ask(0) : null
  while (next !== null) {
    throwIfAborted({ signal })
    const runs: Float64Array = await next
    // The server works on what follows while this is looked at.
    const until = runs.at(-2) ?? bytes
    next = until < bytes ? ask(until) : null
    let settled: StatedExtent[] = []
    for (let run = 0; run < runs.length; run += 2) {
      const end = runs[run] ?? offset
      const state = stateOf(runs[run + 1] ?? 0)
      if (pending?.state === state) {
        pending = { offset: pending.offset, length: end - pending.offset, state }
      } else {
        if (pending !== null) settled.push(pending)
        pending = { offset, length: end - offset, state }
      }
      offset = end
      if (settled.length < BATCH_EXTENTS) continue
      yield settled
      settled = []
    }
    yield settled
  }
  if (pending !== null) yield [pending]
}

/** Whether bit 0 of a context's flags is set, and bit 1: all that the contexts we read have. */
export function bitsOf(flags: number): { readonly bit0: boolean; readonly bit1: boolean } {
  return { bit0: flags % 2 === 1, bit1: flags % 4 >= 2 }
}
