import type { Spread, Timed } from './rounds.js'

/** One line of the table: a figure, what it must reach, and how it came about. */
export interface Row {
  readonly part: string
  readonly what: string
  readonly value: Spread
  /** `x` for a ratio; else s, KiB, MiB, /s. */
  readonly unit: string
  /** Null for a figure that nothing is asked of. */
  readonly bound: Bound | null
  readonly timed: readonly Timed[]
  /** What one should know to read the figure: the data, the size of a repository, what limits. */
  readonly notes: readonly string[]
}

export interface Bound {
  readonly least?: number
  readonly most?: number
}

/** Whether the median keeps to the bound. */
export function isReached({ value, bound }: Row): boolean {
  if (bound === null) return true
  return value.median >= (bound.least ?? -Infinity) && value.median <= (bound.most ?? Infinity)
}
