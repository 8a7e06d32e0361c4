/** The mode of a backup, and why it is not the one that was asked for. */
export function modeWords(made: {
  readonly mode: string
  readonly requested: string
  readonly reason: string | null
}): string {
  const { mode, requested, reason } = made
  if (mode === requested && reason === null) return mode
  const why = reason === null ? '' : `: ${REASONS[reason] ?? reason}`
  return mode === requested ? `${mode}${why}` : `${mode}, not ${requested}${why}`
}

/** The reasons of the library in half a sentence; one that is not here is shown as it is. */
const REASONS: Readonly<Record<string, string | undefined>> = {
  resized: 'the volume had another size before',
  lineage: 'no backup stands for what the map of changes counts from',
  'no-parent': 'the volume had no backup yet',
  'chunk-size': 'its parent has chunks of another size',
}
