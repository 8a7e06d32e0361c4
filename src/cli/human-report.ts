import type { MoverEvent } from '../core/progress.js'
import { failureLines } from './failure.js'
import type { Output } from './output.js'
import { printable } from './printable.js'
import type { ProgressPrinter } from './progress-printer.js'
import type { Failure, Report, ResultRecord, ResultTexts } from './report.js'

export interface HumanReportParts {
  /** `mover: backup`, at the head of whatever is said on stderr. */
  readonly prefix: string
  readonly answers: Output
  readonly messages: Output
  /** Null for `--quiet`. */
  readonly progress: ProgressPrinter | null
}

/** Answers on stdout; progress, warnings and errors on stderr. */
export class HumanReport implements Report {
  readonly #parts: HumanReportParts

  constructor(parts: HumanReportParts) {
    this.#parts = parts
  }

  async event(event: MoverEvent): Promise<void> {
    const { prefix, progress } = this.#parts
    const { disk } = event
    if (event.type === 'stage') {
      progress?.enterStage(disk === undefined ? event.stage : `${printable(disk)} ${event.stage}`)
    } else if (event.type === 'progress') await progress?.show(event)
    else await this.#say(`${prefix}: ${noticeOf(event)}`)
  }

  async row(_record: object, text: string | null): Promise<void> {
    if (text === null) return
    await this.#parts.progress?.clear()
    await this.#parts.answers.write(`${text}\n`)
  }

  async result<R extends ResultRecord>(_record: R, texts: ResultTexts): Promise<void> {
    const { answers, progress } = this.#parts
    await progress?.clear()
    const lines = progress === null ? (texts.bare ?? []) : texts.summary
    await answers.write(lines.map(line => `${line}\n`).join(''))
  }

  async failure(failure: Failure): Promise<void> {
    for (const line of failureLines(failure, this.#parts.prefix)) await this.#say(line)
  }

  async #say(line: string): Promise<void> {
    await this.#parts.progress?.clear()
    await this.#parts.messages.write(`${line}\n`)
  }
}

type Notice = Exclude<MoverEvent, { type: 'stage' | 'progress' }>

function noticeOf(event: Notice): string {
  const disk = event.disk === undefined ? '' : `disk ${printable(event.disk)}: `
  switch (event.type) {
    case 'warning':
      return `warning: ${disk}${printable(event.message)}`
    case 'fallback':
      return `${disk}${printable(event.message)}`
    case 'damage':
      return `damaged ${event.damage.kind} ${printable(event.damage.name)}: ${printable(event.damage.message)}`
  }
}
