import { throwIfAborted, type AbortOptions } from './abort.js'
import { EVENTS_BUFFERED_MAX } from './limits.js'
import type { MoverEvent } from './progress.js'

/** An operation under way. Disposing of it cancels it and waits until it has ended. */
export interface Job<T> extends AsyncDisposable {
  /** Ends when the job ends, well or badly; may be left unread. */
  readonly events: AsyncIterable<MoverEvent>
  /** May be left unawaited: a failure nobody looks at does not bring the process down. */
  readonly result: Promise<T>
  readonly cancel: (reason?: unknown) => void
}

/** What a job's body is given: when to stop, and whom to tell. */
export interface JobContext {
  readonly signal: AbortSignal
  readonly emit: (event: MoverEvent) => void
}

/** Runs `run` as a job, unless the caller's signal is aborted already. */
export function startJob<T>(
  run: (context: JobContext) => Promise<T>,
  options: AbortOptions = {},
): Job<T> {
  const controller = new AbortController()
  const events = new EventQueue()
  const forward = (): void => controller.abort(options.signal?.reason)

  const runToEnd = async (): Promise<T> => {
    try {
      throwIfAborted(options)
      options.signal?.addEventListener('abort', forward, { once: true })
      return await run({ signal: controller.signal, emit: event => events.push(event) })
    } finally {
      // The caller's signal may outlive thousands of jobs.
      options.signal?.removeEventListener('abort', forward)
      events.end()
    }
  }
  const result = runToEnd()
  const ended = result.then(ignore, ignore)

  const cancel = (reason?: unknown): void => controller.abort(reason)
  const dispose = async (): Promise<void> => {
    cancel(new Error('the job was disposed of'))
    await ended
  }
  return { events, result, cancel, [Symbol.asyncDispose]: dispose }
}

/**
 * Events between a job that never waits and a reader who may be slow or absent: of progress only the
 * newest is kept, of all else the newest `EVENTS_BUFFERED_MAX`.
 */
class EventQueue implements AsyncIterable<MoverEvent> {
  #events: MoverEvent[] = []
  #isEnded = false
  #wake: (() => void)[] = []

  push(event: MoverEvent): void {
    if (this.#isEnded) return
    if (event.type === 'progress') {
      this.#events = this.#events.filter(({ type }) => type !== 'progress')
    }
    this.#events.push(event)
    if (this.#events.length > EVENTS_BUFFERED_MAX) this.#events.shift()
    this.#wakeReaders()
  }

  end(): void {
    this.#isEnded = true
    this.#wakeReaders()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<MoverEvent> {
    for (;;) {
      const event = this.#events.shift()
      if (event !== undefined) yield event
      else if (this.#isEnded) return
      else await new Promise<void>(wake => this.#wake.push(wake))
    }
  }

  #wakeReaders(): void {
    for (const wake of this.#wake.splice(0)) wake()
  }
}

function ignore(): void {}
