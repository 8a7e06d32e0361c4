import type { ProgressEvent } from '../core/progress.js'
import type { Output } from './output.js'
import { progressLine, progressSentence } from './progress-line.js'

/** At most five lines a second on a terminal: an eye sees no more. */
const TERMINAL_INTERVAL_MS = 200
/** Elsewhere the lines are kept, so they come seldom. */
const LOG_INTERVAL_MS = 5000

/** Back to the first column, and erase to the end of the line. */
const ERASE_LINE = '\r\x1b[K'

export interface ProgressPrinterOptions {
  readonly output: Output
  /** `mover: backup`, at the head of a log's lines. */
  readonly prefix: string
  /** The terminal's width, asked before every line; null where there is no terminal. */
  readonly columns: () => number | null
  readonly nowMs: () => number
}

/**
 * Shows how far a job is: on a terminal one line that is written over, elsewhere a line every five
 * seconds. Within a step, what it shows never runs backwards.
 */
export class ProgressPrinter {
  readonly #options: ProgressPrinterOptions
  #stage: string | null = null
  #bytesDoneMax = 0
  #shownMs: number
  #isLineOpen = false

  constructor(options: ProgressPrinterOptions) {
    this.#options = options
    // A job that ends within the first interval needs no progress.
    this.#shownMs = options.nowMs()
  }

  /** Names the step that is under way from now on; it counts its bytes from the start. */
  enterStage(stage: string): void {
    this.#stage = stage
    this.#bytesDoneMax = 0
  }

  /** Shows the progress, unless something was shown a moment ago. */
  async show(event: ProgressEvent): Promise<void> {
    const { output, prefix, columns, nowMs } = this.#options
    this.#bytesDoneMax = Math.max(this.#bytesDoneMax, event.bytesDone)
    const width = columns()
    const intervalMs = width === null ? LOG_INTERVAL_MS : TERMINAL_INTERVAL_MS
    if (nowMs() - this.#shownMs < intervalMs) return
    this.#shownMs = nowMs()
    const bytesTotal = Math.max(this.#bytesDoneMax, event.bytesTotal)
    const progress = { ...event, bytesDone: this.#bytesDoneMax, bytesTotal }
    const moment = { stage: this.#stage, progress }
    if (width === null) {
      await output.write(`${prefix}: ${progressSentence(moment)}\n`)
    } else {
      this.#isLineOpen = true
      await output.write(ERASE_LINE + progressLine(moment, width))
    }
  }

  /** Takes the line away, so that something else can be said in its place. */
  async clear(): Promise<void> {
    if (!this.#isLineOpen) return
    this.#isLineOpen = false
    await this.#options.output.write(ERASE_LINE)
  }
}
