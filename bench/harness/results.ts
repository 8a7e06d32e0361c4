/** What was measured, as files: one of each part, and a page that shows them all. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Machine } from './machine.js'
import type { Row } from './row.js'

/** What one run of one part came to. */
export interface Results {
  readonly part: string
  readonly machine: Machine
  readonly rounds: number
  readonly rows: readonly Row[]
}

/** Writes the file of a part, in place of the one there was; with words for `places`, which are nobody's business. */
export function writeResults(
  folder: string,
  results: Results,
  places: Readonly<Record<string, string>>,
): void {
  mkdirSync(folder, { recursive: true })
  let text = `${JSON.stringify(results, null, 2)}\n`
  for (const [word, place] of Object.entries(places)) text = text.replaceAll(place, word)
  writeFileSync(join(folder, `${results.part}.json`), text)
}

/** All that the folder holds of these parts, in their order. */
export function readResults(folder: string, parts: readonly string[]): Results[] {
  const files = new Set(readdirSync(folder))
  return parts
    .map(part => `${part}.json`)
    .filter(name => files.has(name))
    .map(name => JSON.parse(readFileSync(join(folder, name), 'utf8')) as Results)
}
