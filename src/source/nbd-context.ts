import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { ExtentState, StatedExtent } from '../core/extent.js'
import { native, type NbdInfo } from '../native/addon.js'

/** What the flags of one metadata context say of a run of bytes. */
export type StateOfFlags = (flags: number) => ExtentState

/** What is read of an open volume, and how it is understood. */
export interface ContextReading extends AbortOptions {
  readonly context: string
  readonly stateOf: StateOfFlags
}

/**
 * Yields what one context of an NBD server says of the whole volume, in order, without gaps,
 * neighbours of one state joined. Each context is walked by itself, because replies cover different
 * lengths for each of them.
 */
export async function* readContext(
  { handle, bytes }: Pick<NbdInfo, 'handle' | 'bytes'>,
  { context, stateOf, signal }: ContextReading,
): AsyncGenerator<StatedExtent> {
  let pending = null as StatedExtent | null
  let offset = 0
  while (offset < bytes) {
    throwIfAborted({ signal })
    const from = offset
    const runs = await native(addon => addon.blockStatus(handle, context, from), 'plan')
    for (let run = 0; run < runs.length; run += 2) {
      const end = runs[run] ?? offset
      const state = stateOf(runs[run + 1] ?? 0)
      if (pending?.state === state) {
        pending = { ...pending, length: end - pending.offset }
      } else {
        if (pending !== null) yield pending
        pending = { offset, length: end - offset, state }
      }
      offset = end
    }
  }
  if (pending !== null) yield pending
}

/** Whether bit 0 of a context's flags is set, and bit 1: all that the contexts we read have. */
export function bitsOf(flags: number): { readonly bit0: boolean; readonly bit1: boolean } {
  return { bit0: flags % 2 === 1, bit1: flags % 4 >= 2 }
}
