import { modeReasonWords } from '../core/mode-reason.js'

/** The mode of a backup, and why it is not the one that was asked for. */
export function modeWords(made: {
  readonly mode: string
  readonly requested: string
  readonly reason: string | null
}): string {
  const { mode, requested, reason } = made
  if (mode === requested && reason === null) return mode
  const why = reason === null ? '' : `: ${modeReasonWords(reason)}`
  return mode === requested ? `${mode}${why}` : `${mode}, not ${requested}${why}`
}
