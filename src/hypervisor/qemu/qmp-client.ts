/**
 * QEMU's control socket, spoken as docs/interop/qmp-spec says: one JSON object a line, a greeting first,
 * then answers in the order of the commands, and events between them.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { throwIfAborted, type AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'

/** What QEMU tells unasked. */
export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface QmpOptions extends AbortOptions {
  readonly onEvent?: (event: QmpEvent) => void
  /** How long QEMU may take to greet, and to answer a command. */
  readonly timeoutMs?: number
}

export type QmpArguments = Readonly<Record<string, unknown>>

/** A machine of thousands of nodes says less in one line. */
const LINE_BYTES_MAX = 64 * 1024 * 1024
const GREETING_MS = 10_000
/** A transaction waits for the guest's writes under way, and a disk that hangs holds them for long. */
const ANSWER_MS = 60_000

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** An open QMP connection. Once it has failed, every command fails with the same error. */
export class QmpClient implements AsyncDisposable {
  readonly path: string
  readonly #socket: Socket
  readonly #onEvent: (event: QmpEvent) => void
  readonly #timeoutMs: number
  #pieces: Buffer[] = []
  #pieceBytes = 0
  #waiting: Waiting[] = []
  #greet: Waiting | null = null
  #failure: MoverError | null = null

  private constructor(path: string, socket: Socket, { onEvent, timeoutMs }: QmpOptions) {
    this.path = path
    this.#socket = socket
    this.#onEvent = onEvent ?? (() => {})
    this.#timeoutMs = timeoutMs ?? ANSWER_MS
    socket.on('data', piece => this.#take(piece))
    socket.on('error', error => this.#fail(`its QMP connection failed: ${error.message}`))
    socket.on('close', () => this.#fail('it closed its QMP connection'))
  }

  /**
   * Connects and waits for the greeting. Throws HYPERVISOR_FAILED where nobody listens, and
   * HYPERVISOR_REFUSED where somebody listens and does not greet: a monitor serves one client at a time.
   */
  static async open(path: string, options: QmpOptions = {}): Promise<QmpClient> {
    throwIfAborted(options)
    const socket = connect(path)
    const client = new QmpClient(path, socket, options)
    try {
      const greeting = new Promise((resolve, reject) => (client.#greet = { resolve, reject }))
      await client.#within(greeting, {
        ...options,
        ms: Math.min(options.timeoutMs ?? GREETING_MS, GREETING_MS),
        late: () => busy(path),
      })
      await client.execute('qmp_capabilities', {}, options)
      return client
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  get isOpen(): boolean {
    return this.#failure === null
  }

  /**
   * Runs one command and gives its answer back. Throws HYPERVISOR_FAILED with QEMU's words, and its class
   * of error in `details.class`; a cancel while it runs leaves the connection closed, because nobody
   * would know what the next answer belongs to.
   */
  async execute(
    command: string,
    args: QmpArguments = {},
    options: AbortOptions = {},
  ): Promise<unknown> {
    throwIfAborted(options)
    if (this.#failure !== null) throw this.#failure
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    const reply = await this.#within(answer, {
      ...options,
      ms: this.#timeoutMs,
      late: () => this.#error(`it did not answer ${command} within ${this.#timeoutMs} ms`),
    })
    const { error } = reply as { error?: { class?: unknown; desc?: unknown } }
    if (error === undefined) return (reply as { return: unknown }).return
    throw new MoverError('HYPERVISOR_FAILED', `QEMU refused ${command}: ${String(error.desc)}`, {
      details: { class: String(error.class), command },
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.destroyed) return
    const closed = once(this.#socket, 'close')
    this.#socket.destroy()
    await closed
  }

  /** Waits no longer than `ms`, and not once the signal is aborted; either ends the connection. */
  async #within<T>(
    answer: Promise<T>,
    { signal, ms, late }: AbortOptions & { readonly ms: number; readonly late: () => MoverError },
  ): Promise<T> {
    const end = (error: MoverError) => {
      this.#failure ??= error
      this.#rejectAll(error)
      this.#socket.destroy()
    }
    const timer = setTimeout(() => end(late()), ms)
    const abort = () =>
      end(new MoverError('CANCELLED', 'the operation was cancelled', { cause: signal?.reason }))
    signal?.addEventListener('abort', abort, { once: true })
    try {
      return await answer
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
  }

  #take(piece: Buffer): void {
    let from = 0
    for (let end = piece.indexOf(10); end !== -1; end = piece.indexOf(10, from)) {
      const line = Buffer.concat([...this.#pieces, piece.subarray(from, end)]).toString('utf8')
      this.#pieces = []
      this.#pieceBytes = 0
      from = end + 1
      if (line.trim() !== '') this.#hear(line)
    }
    this.#pieceBytes += piece.length - from
    if (this.#pieceBytes > LINE_BYTES_MAX) this.#fail('it sent a line without an end')
    else if (from < piece.length) this.#pieces.push(piece.subarray(from))
  }

  #hear(line: string): void {
    if (this.#failure !== null) return
    const message = objectOf(line)
    if (message === null) return this.#fail('it does not speak QMP')
    if ('event' in message) {
      const data = typeof message['data'] === 'object' ? message['data'] : null
      return this.#onEvent({ event: String(message['event']), data: { ...data } })
    }
    if ('QMP' in message && this.#greet !== null) return this.#greet.resolve(message)
    if (!('return' in message) && !isErrorReply(message)) return this.#fail('it does not speak QMP')
    const waiting = this.#waiting.shift()
    if (waiting === undefined) return this.#fail('it answered what nobody asked')
    waiting.resolve(message)
  }

  #fail(why: string): void {
    this.#failure ??= this.#error(why)
    this.#rejectAll(this.#failure)
    this.#socket.destroy()
  }

  #rejectAll(error: MoverError): void {
    this.#greet?.reject(error)
    this.#greet = null
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }

  #error(why: string): MoverError {
    return new MoverError('HYPERVISOR_FAILED', `QEMU at ${this.path}: ${why}`, {
      stage: 'open',
      remedy: 'check that the machine runs, and that this is the socket of a QMP monitor of it',
    })
  }
}

/** Whether QEMU itself said no, in words of this class, as against a connection that failed. */
export function isQmpError(error: unknown, errorClass: string): boolean {
  return error instanceof MoverError && error.details?.['class'] === errorClass
}

function isErrorReply(message: Readonly<Record<string, unknown>>): boolean {
  return typeof message['error'] === 'object' && message['error'] !== null
}

function objectOf(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null
      ? (value as Readonly<Record<string, unknown>>)
      : null
  } catch {
    return null
  }
}

function busy(path: string): MoverError {
  return new MoverError('HYPERVISOR_REFUSED', `QEMU at ${path} does not greet`, {
    stage: 'open',
    retryable: true,
    remedy:
      'a QMP monitor serves one client at a time, and another one has it, perhaps another mover: ' +
      'wait for it, or give the machine a second -qmp',
  })
}
