import { isReached, type Bound, type Row } from './row.js'

/** Rows as text columns. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [
    ['part', 'what', 'median', 'spread', 'must be', ''],
    ...rows.map(row => [
      row.part,
      row.what,
      figure(row.value.median, row.unit),
      `${figure(row.value.min, row.unit)} - ${figure(row.value.max, row.unit)}`,
      boundWords(row.bound, row.unit),
      verdict(row),
    ]),
  ]
  const widths = [0, 1, 2, 3, 4, 5].map(column =>
    Math.max(...lines.map(line => (line[column] ?? '').length)),
  )
  return lines
    .map(line =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export function verdict(row: Row): string {
  if (row.bound === null) return ''
  return isReached(row) ? 'reached' : 'NOT reached'
}

/** A number with as many digits as it deserves, and its unit. */
export function figure(value: number, unit: string): string {
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : 2
  return `${value.toFixed(digits)} ${unit}`
}

export function boundWords(bound: Bound | null, unit: string): string {
  if (bound === null) return ''
  const words = []
  if (bound.least !== undefined) words.push(`>= ${bound.least}`)
  if (bound.most !== undefined) words.push(`<= ${bound.most}`)
  return `${words.join(', ')} ${unit}`
}
