/**
 * `npm run bench [-- PART...] [--rounds N] [--scratch FOLDER]`: every part, or those that are named;
 * prints a table, and writes it with all that it rests on to bench/results/.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT, type Bench, type Part } from './harness/bench.js'
import { describeMachine } from './harness/machine.js'
import { pageOf, type Results } from './harness/page.js'
import { isReached, type Row } from './harness/row.js'
import { tableOf } from './harness/table.js'
import { PARTS } from './parts.js'

const ROUNDS = 5

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: String(ROUNDS) },
    scratch: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})

if (values.list) for (const { name, about } of PARTS) console.log(`${name.padEnd(16)}${about}`)
else await runParts(chosenParts(positionals))

function chosenParts(names: readonly string[]): readonly Part[] {
  const unknown = names.find(name => !PARTS.some(part => part.name === name))
  if (unknown !== undefined) {
    throw new Error(`no part is named ${unknown}; --list names them all`)
  }
  return names.length === 0 ? PARTS : PARTS.filter(({ name }) => names.includes(name))
}

async function runParts(parts: readonly Part[]): Promise<void> {
  const rows: Row[] = []
  const scratch = makeScratch()
  const machine = describeMachine(scratch, ROOT)
  console.log(
    Object.entries(machine)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n'),
  )
  const keep = () => keepResults(parts, { machine, rounds: roundCount(), rows }, scratch)
  try {
    for (const part of parts) {
      await runPart(part, scratch, rows)
      // After each, so that a later part that fails takes nothing along.
      keep()
    }
  } finally {
    if (values.scratch === undefined) rmSync(scratch, { recursive: true, force: true })
  }
  console.log(`\n${tableOf(rows)}`)
  if (!rows.every(isReached)) process.exitCode = 1
}

function keepResults(parts: readonly Part[], results: Results, scratch: string): void {
  const name = parts.length === PARTS.length ? 'all' : parts.map(({ name }) => name).join('-')
  const folder = join(ROOT, 'bench', 'results')
  mkdirSync(folder, { recursive: true })
  // Where things lie on this machine is nobody's business.
  const write = (file: string, text: string) => {
    const elsewhere = text
      .replaceAll(scratch, 'SCRATCH')
      .replaceAll(ROOT, '.')
      .replaceAll(process.execPath, 'node')
    writeFileSync(join(folder, file), elsewhere)
  }
  write(`${name}.json`, `${JSON.stringify(results, null, 2)}\n`)
  write(`${name}.html`, pageOf(results))
}

async function runPart(part: Part, scratch: string, rows: Row[]): Promise<void> {
  console.log(`\n${part.name}: ${part.about}`)
  const bench: Bench = {
    scratch,
    rounds: roundCount(),
    say: line => console.log(line),
    report: row => rows.push({ part: part.name, ...row }),
  }
  await part.run(bench)
  console.log(tableOf(rows.filter(row => row.part === part.name)))
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
