import { inspect } from 'node:util'
import { MoverError } from '../core/errors.js'
import { EXIT_CODES, exitCodeOf } from './exit-codes.js'
import { failureLines, failureOf } from './failure.js'
import { HumanReport } from './human-report.js'
import type { Io } from './io.js'
import { JsonReport } from './json-report.js'
import { Output } from './output.js'
import { ProgressPrinter } from './progress-printer.js'
import type { Report } from './report.js'
import { listenForSignals, type Interruption } from './signals.js'

const COLUMNS_DEFAULT = 80

/** How this run is to speak, as far as the command line has been understood. */
export interface Voice {
  /** `mover: backup` */
  readonly prefix: string
  readonly isQuiet: boolean
  /** Stdout carries a volume's bytes: all words go to stderr. */
  readonly isStdoutTaken: boolean
}

/** One run of the program: its streams, its signals, and whom it reports to. */
export class Run implements Disposable {
  readonly io: Io
  readonly isJson: boolean
  readonly stdout: Output
  readonly stderr: Output
  readonly #interruption: Interruption
  #prefix = 'mover'
  #isStdoutTaken = false
  #report: Report

  constructor(io: Io, { isJson }: { readonly isJson: boolean }) {
    this.io = io
    this.isJson = isJson
    this.stdout = new Output(io.stdout, {
      onBroken: () => this.#interruption.abort('nobody reads stdout any more'),
    })
    // Where nobody hears what is said, there is nobody to tell.
    this.stderr = new Output(io.stderr, { onBroken: () => {} })
    this.#interruption = listenForSignals({ host: io.host, onSignal: this.#sayStopping })
    this.#report = this.speakAs({ prefix: 'mover', isQuiet: false, isStdoutTaken: false })
    io.host.on('uncaughtException', this.#dieOfBug)
  }

  get signal(): AbortSignal {
    return this.#interruption.signal
  }

  /** Makes the report that everything is told to from now on. */
  speakAs({ prefix, isQuiet, isStdoutTaken }: Voice): Report {
    const answers = isStdoutTaken ? this.stderr : this.stdout
    const progress = new ProgressPrinter({
      output: this.stderr,
      prefix,
      columns: () => columnsOf(this.io),
      nowMs: () => performance.now(),
    })
    this.#prefix = prefix
    this.#isStdoutTaken = isStdoutTaken
    this.#report = this.isJson
      ? new JsonReport(answers, { isQuiet })
      : new HumanReport({
          prefix,
          answers,
          messages: this.stderr,
          progress: isQuiet ? null : progress,
        })
    return this.#report
  }

  /** Runs `body` to its exit code; what it throws is reported and becomes one. */
  async codeOf(body: () => Promise<number>): Promise<number> {
    const code = await body().catch(error => this.#fail(error))
    const { failure, isClosedByReader } = this.stdout
    if (failure === null || isClosedByReader) return code
    const lost = new MoverError('TARGET_FAILED', `cannot write to stdout: ${failure.message}`)
    await this.#say(failureLines(failureOf(lost), this.#prefix))
    // Cancelled, too: the run was stopped because its answer has no way out.
    return code === EXIT_CODES.done || code === EXIT_CODES.cancelled ? EXIT_CODES.target : code
  }

  [Symbol.dispose](): void {
    this.io.host.off('uncaughtException', this.#dieOfBug)
    this.#interruption[Symbol.dispose]()
    this.stdout[Symbol.dispose]()
    this.stderr[Symbol.dispose]()
  }

  async #fail(error: unknown): Promise<number> {
    // `mover cat … | head`: the reader has what it wanted.
    if (this.stdout.failure !== null && isCode(error, 'CANCELLED')) return EXIT_CODES.cancelled
    // Only a target that is stdout has a reader: a file of FUSE may answer anything, and has failed then.
    const isEpipe = isCode(error, 'TARGET_FAILED') && error.details?.['os'] === 'EPIPE'
    if (isEpipe && this.#isStdoutTaken) return EXIT_CODES.cancelled

    await this.#report.failure(failureOf(error))
    if (this.io.environment['MOVER_DEBUG'] === '1') await this.#say([inspect(error)])
    return exitCodeOf(error)
  }

  async #say(lines: readonly string[]): Promise<void> {
    await this.stderr.write(lines.map(line => `${line}\n`).join(''))
  }

  readonly #sayStopping = (signal: string, count: number): void => {
    const message =
      count === 1
        ? `${signal}: stopping when the reads and writes under way have ended`
        : `${signal}: still stopping; the reads and writes under way have to end first`
    void this.#report.event({ type: 'warning', code: 'STOPPING', message })
  }

  /** After a bug nothing is certain: no clean stop is tried, and nothing was committed by halves. */
  readonly #dieOfBug = (error: unknown): void => {
    void this.#fail(error instanceof MoverError ? error : toBug(error)).then(() =>
      this.io.host.exit(EXIT_CODES.internal),
    )
  }
}

function toBug(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function isCode(error: unknown, code: string): error is MoverError {
  return error instanceof MoverError && error.code === code
}

/** The width for a line that is written over; null where stderr cannot do that. */
function columnsOf({ stderr, environment }: Io): number | null {
  if (!stderr.isTTY || environment['TERM'] === 'dumb') return null
  return stderr.columns ?? COLUMNS_DEFAULT
}
