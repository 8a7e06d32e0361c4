import type { MoverEvent } from '../core/progress.js'
import type { Output } from './output.js'
import type { Failure, Report, ResultRecord } from './report.js'

/** One JSON object a line: events and rows as they come, then the result or the error. */
export class JsonReport implements Report {
  readonly #lines: Output
  readonly #isQuiet: boolean

  constructor(lines: Output, { isQuiet }: { readonly isQuiet: boolean }) {
    this.#lines = lines
    this.#isQuiet = isQuiet
  }

  async event(event: MoverEvent): Promise<void> {
    if (this.#isQuiet && event.type === 'progress') return
    await this.#lines.write(jsonLine(event))
  }

  async row(record: object): Promise<void> {
    await this.#lines.write(jsonLine(record))
  }

  async result<R extends ResultRecord>(record: R): Promise<void> {
    await this.#lines.write(jsonLine({ type: 'result', ...record }))
  }

  async failure(failure: Failure): Promise<void> {
    await this.#lines.write(jsonLine({ type: 'error', ...failure }))
  }
}

/** The record on one line. Digests become hex, and big integers decimal text. */
export function jsonLine(record: object): string {
  return `${JSON.stringify(record, plainValue)}\n`
}

function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (value instanceof Set || value instanceof Map) return [...value]
  return value
}
