/** What every part of the benchmark works with. */
import { join } from 'node:path'
import type { Command } from './command.js'
import type { Row } from './row.js'

export interface Bench {
  /** A folder on the disk that is measured, removed at the end unless it was given. */
  readonly scratch: string
  /** How often contenders take their turn. */
  readonly rounds: number
  readonly say: (line: string) => void
  readonly report: (row: Omit<Row, 'part'>) => void
}

export interface Part {
  /** As given to `npm run bench -- NAME`. */
  readonly name: string
  /** The question that it answers. */
  readonly about: string
  run(bench: Bench): Promise<void>
}

/** The project's folder, from build/bench/harness. */
export const ROOT = join(import.meta.dirname, '..', '..', '..')

/** `mover ARGUMENTS` as it was built last. */
export function mover(...args: string[]): Command {
  return { argv: [process.execPath, join(ROOT, 'dist', 'program', 'main.js'), ...args] }
}

/** The yardstick's program, which shares no code with mover. */
export function limits(...args: string[]): Command {
  return { argv: [join(ROOT, 'bench', 'limits', 'target', 'release', 'limits'), ...args] }
}
