import { MoverError } from './errors.js'

/** What every call that can wait takes last. */
export interface AbortOptions {
  readonly signal?: AbortSignal | undefined
}

/** Throws `CANCELLED`, with the signal's reason as its cause, once the signal is aborted. */
export function throwIfAborted(options?: AbortOptions): void {
  if (!options?.signal?.aborted) return
  throw new MoverError('CANCELLED', 'the operation was cancelled', { cause: options.signal.reason })
}
