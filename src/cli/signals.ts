import type { Host } from './io.js'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface Interruption extends Disposable {
  readonly signal: AbortSignal
  /** Asks for the same clean stop that a signal asks for. */
  abort(reason: string): void
}

export interface InterruptionOptions {
  readonly host: Host
  /** Told of every signal; `count` is 1 for the first. */
  readonly onSignal: (name: string, count: number) => void
}

/**
 * Turns Ctrl-C, SIGTERM and SIGHUP into an aborted signal. However often it is asked, the stop
 * stays a clean one: threads inside native calls must come back before their buffers may go.
 */
export function listenForSignals({ host, onSignal }: InterruptionOptions): Interruption {
  const controller = new AbortController()
  let count = 0
  const listener = (name: string) => {
    count += 1
    onSignal(name, count)
    controller.abort(new Error(`stopped by ${name}`))
  }
  for (const name of SIGNALS) host.on(name, listener)
  return {
    signal: controller.signal,
    abort: reason => controller.abort(new Error(reason)),
    [Symbol.dispose]() {
      for (const name of SIGNALS) host.off(name, listener)
    },
  }
}
