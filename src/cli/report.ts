import type { MoverEvent } from '../core/progress.js'

/** Where a command puts what it has to say: for people or, with `--json`, for programs. */
export interface Report {
  /** Something that happened on the way. */
  event(event: MoverEvent): Promise<void>

  /**
   * One line of an answer that comes in many: the record for programs, the text for people; null
   * where people are told in the result.
   */
  row(record: object, text: string | null): Promise<void>

  /** The answer; nothing comes after it. */
  result<R extends ResultRecord>(record: R, texts: ResultTexts): Promise<void>

  /** Why there is no answer; nothing comes after it. */
  failure(failure: Failure): Promise<void>
}

/** The last line of a run that ended well, without its `type`. */
export interface ResultRecord {
  readonly operation: string
}

/** A result in words. */
export interface ResultTexts {
  /** Lines for people. */
  readonly summary: readonly string[]
  /** Lines that `--quiet` leaves: ids, one a line, for a script's variable. */
  readonly bare?: readonly string[]
}

/** The last line of a run that did not end well, without its `type`. */
export interface Failure {
  readonly code: string
  readonly stage: string | null
  readonly message: string
  readonly remedy: string | null
  readonly offset: number | null
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>> | null
}
