/** The results as a page that needs nothing but itself: the table, and a chart of each comparison. */
import type { Results } from './results.js'
import type { Timed } from './rounds.js'
import { isReached, type Row } from './row.js'
import { boundWords, figure, verdict } from './table.js'

const STYLE = `
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
  table { border-collapse: collapse; width: 100% }
  td, th { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
  td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
  .miss { color: #b00020; font-weight: 600 } .hit { color: #1b6e3c }
  code { font-size: 12px; color: #555; overflow-wrap: anywhere }
  svg text { font: 12px system-ui, sans-serif; fill: #222 }
  figure { margin: 1.5rem 0 } figcaption { font-weight: 600 } .note { color: #555; font-size: 13px }`

/** An HTML page of all that was measured. */
export function pageOf(results: readonly Results[]): string {
  const rows = results.flatMap(({ rows }) => rows)
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>mover: what was measured</title><style>${STYLE}</style>
<h1>mover: what was measured</h1>
<p>Contenders in turn; ratios are taken round by round.</p>
<table><tr><th>part<th>what<th>median<th>spread<th>must be<th></tr>
${rows.map(tableRow).join('\n')}
</table>
${results.map(section).join('\n')}
</html>
`
}

function section({ part, machine, rounds, rows }: Results): string {
  const facts = Object.entries(machine).map(([name, value]) => `${name}: ${value}`)
  const words = `${facts.join(' · ')} · ${rounds} rounds`
  return `<h2>${escaped(part)}</h2><p class="note">${escaped(words)}</p>\n${chartsOf(rows)}`
}

function tableRow(row: Row): string {
  const { part, what, value, unit, bound } = row
  const spread = `${figure(value.min, unit)} – ${figure(value.max, unit)}`
  return `<tr><td>${escaped(part)}<td>${escaped(what)}<td class="n">${figure(value.median, unit)}<td class="n">${spread}<td class="n">${escaped(boundWords(bound, unit))}<td class="${isReached(row) ? 'hit' : 'miss'}">${verdict(row)}</tr>`
}

/** One chart for each set of contenders, whatever the number of rows that were taken from it. */
function chartsOf(rows: readonly Row[]): string {
  const seen = new Set<string>()
  return rows
    .filter(({ timed }) => timed.length > 0)
    .filter(({ part, timed }) => {
      const key = JSON.stringify([part, timed])
      return !seen.has(key) && seen.add(key)
    })
    .map(chart)
    .join('\n')
}

const BAR = { height: 20, gap: 8, left: 190, width: 560 }

function chart({ part, what, timed, notes }: Row): string {
  const longest = Math.max(...timed.map(({ seconds }) => seconds.max))
  const height = timed.length * (BAR.height + BAR.gap)
  const bars = timed.map((entry, position) => bar(entry, position, longest)).join('')
  const commands = timed.map(({ name, command }) => `${escaped(name)}: ${escaped(command)}`)
  return `<figure><figcaption>${escaped(part)}: ${escaped(what)}</figcaption>
<svg viewBox="0 0 ${BAR.left + BAR.width + 130} ${height}" width="100%" role="img" aria-label="seconds of each contender">${bars}</svg>
<p class="note">${notes.map(escaped).join('<br>')}</p>
<code>${commands.join('<br>')}</code></figure>`
}

function bar({ name, seconds }: Timed, position: number, longest: number): string {
  const y = position * (BAR.height + BAR.gap)
  const scale = (value: number) => Math.max(1, (value / longest) * BAR.width)
  const middle = y + BAR.height / 2
  const colour = name.startsWith('mover') ? '#1f6feb' : '#9aa4b2'
  return (
    `<text x="${BAR.left - 8}" y="${middle + 4}" text-anchor="end">${escaped(name)}</text>` +
    `<rect x="${BAR.left}" y="${y}" width="${scale(seconds.median)}" height="${BAR.height}" fill="${colour}"/>` +
    `<line x1="${BAR.left + scale(seconds.min)}" x2="${BAR.left + scale(seconds.max)}" y1="${middle}" y2="${middle}" stroke="#222"/>` +
    `<text x="${BAR.left + scale(seconds.max) + 8}" y="${middle + 4}">${seconds.median.toFixed(2)} s</text>`
  )
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
