/**
 * `npm run bench [-- PART...] [--rounds N] [--scratch FOLDER]`: every part, or those that are named;
 * prints a table, and writes it with all that it rests on to bench/results/. `--readme` measures nothing
 * and gives README the figures that are there.
 */
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT, type Part } from './harness/bench.js'
import { describeMachine } from './harness/machine.js'
import { pageOf } from './harness/page.js'
import { withFigures } from './harness/readme-table.js'
import { readResults, writeResults } from './harness/results.js'
import { isReached, type Row } from './harness/row.js'
import { tableOf } from './harness/table.js'
import { PARTS, PART_NAMES } from './parts.js'
import { quickPart } from './quick.bench.js'

const ROUNDS = 5
const RESULTS = join(ROOT, 'bench', 'results')

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: String(ROUNDS) },
    scratch: { type: 'string' },
    list: { type: 'boolean', default: false },
    readme: { type: 'boolean', default: false },
  },
})

if (values.readme) writeReadme()
else if (values.list) for (const { name, about } of PARTS) console.log(`${name.padEnd(16)}${about}`)
else await runParts(chosenParts(positionals))

function writeReadme(): void {
  const path = join(ROOT, 'README.md')
  writeFileSync(path, withFigures(readFileSync(path, 'utf8'), readResults(RESULTS, PART_NAMES)))
}

function chosenParts(names: readonly string[]): readonly Part[] {
  const unknown = names.find(name => !PARTS.some(part => part.name === name))
  if (unknown !== undefined) {
    throw new Error(`no part is named ${unknown}; --list names them all`)
  }
  return names.length === 0 ? PARTS : PARTS.filter(({ name }) => names.includes(name))
}

async function runParts(parts: readonly Part[]): Promise<void> {
  const scratch = makeScratch()
  const machine = describeMachine(scratch, ROOT)
  console.log(
    Object.entries(machine)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n'),
  )
  const all: Row[] = []
  try {
    for (const part of parts) {
      const rows = await runPart(part, scratch)
      all.push(...rows)
      // What CI looks at is not worth keeping. After each, so that a part that fails takes nothing along.
      if (part === quickPart) continue
      const results = { part: part.name, machine, rounds: roundCount(), rows }
      writeResults(RESULTS, results, { SCRATCH: scratch, '.': ROOT, node: process.execPath })
      writeFileSync(join(RESULTS, 'index.html'), pageOf(readResults(RESULTS, PART_NAMES)))
    }
  } finally {
    if (values.scratch === undefined) rmSync(scratch, { recursive: true, force: true })
  }
  console.log(`\n${tableOf(all)}`)
  if (!all.every(isReached)) process.exitCode = 1
}

async function runPart(part: Part, scratch: string): Promise<Row[]> {
  console.log(`\n${part.name}: ${part.about}`)
  const rows: Row[] = []
  await part.run({
    scratch,
    rounds: roundCount(),
    say: line => console.log(line),
    report: row => rows.push({ part: part.name, ...row }),
  })
  console.log(tableOf(rows))
  return rows
}

function roundCount(): number {
  const count = Number(values.rounds)
  if (!Number.isInteger(count) || count < 1) throw new Error('--rounds takes a number from 1')
  return count
}

/** Beside the project unless told otherwise: /tmp is memory on many machines. */
function makeScratch(): string {
  if (values.scratch === undefined) {
    mkdirSync(join(ROOT, 'build'), { recursive: true })
    return mkdtempSync(join(ROOT, 'build', 'bench-'))
  }
  mkdirSync(values.scratch, { recursive: true })
  return realpathSync(values.scratch)
}
