/** The table of README, made from bench/results: no figure in it is typed by hand. */
import type { Results } from './results.js'
import { isReached, type Row } from './row.js'
import { boundWords, figure } from './table.js'

const BEGIN = '<!-- made by: npm run bench -- --readme -->'
const END = '<!-- end -->'

/** README with the table of these results in place of the one it has. */
export function withFigures(readme: string, results: readonly Results[]): string {
  const [before = '', rest] = readme.split(BEGIN)
  const after = rest?.split(END)[1]
  if (after === undefined) throw new Error(`README has no place for figures: ${BEGIN} to ${END}`)
  const rows = results.flatMap(({ rows }) => rows)
  const head = ['| what | median | spread | asked for |', '|---|---|---|---|']
  const table = [...head, ...rows.map(line)].join('\n')
  return `${before}${BEGIN}\n\n${table}\n\n${END}${after}`
}

function line(row: Row): string {
  const { what, value, unit, bound } = row
  const spread = `${figure(value.min, unit)} – ${figure(value.max, unit)}`
  const asked = boundWords(bound, unit)
  const verdict = isReached(row) ? '' : ': missed'
  return `| ${what} | ${figure(value.median, unit)} | ${spread} | ${asked}${verdict} |`
}
