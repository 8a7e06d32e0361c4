/** Runs the binary that was compiled with the tests, as a user would. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { projectFolder } from './project-folder.js'

/** The script of the binary: `node` runs it. */
export const moverScript = join(projectFolder, 'build', 'src', 'cli', 'main.js')

export interface RunOptions {
  /** Given as `--repo`. */
  readonly repository?: string
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** What is put before `node`: strace and its options, prlimit, unshare. */
  readonly under?: readonly string[]
  /** Killed outright after so long, as a crash would. */
  readonly killAfterMs?: number
}

/** A line of the binary: an event, the result or the error. */
export type Line = { readonly type: string } & Readonly<Record<string, unknown>>

export interface Finished {
  /** The exit code; null when a signal ended it. */
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** The lines of stdout that are JSON objects. */
  readonly lines: readonly Line[]
  /** The line of type `result`. */
  readonly result: Line | null
  /** The line of type `error`. */
  readonly error: Line | null
}

/** Runs `mover ARGUMENTS` to its end, whatever it is; `--json` is the caller's to add. */
export async function runMover(
  args: readonly string[],
  { repository, cwd, env, under = [], killAfterMs }: RunOptions = {},
): Promise<Finished> {
  const repo = repository === undefined ? [] : ['--repo', repository]
  const [program = '', ...rest] = [...under, process.execPath, moverScript, ...args, ...repo]
  const child = spawn(program, rest, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const timer =
    killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    ended,
  ])
  clearTimeout(timer)
  const lines = linesOf(stdout)
  const last = (type: string) => lines.findLast(line => line.type === type) ?? null
  return { code, signal, stdout, stderr, lines, result: last('result'), error: last('error') }
}

/** The same with `--json`. */
export async function runMoverJson(
  args: readonly string[],
  options?: RunOptions,
): Promise<Finished> {
  return runMover([...args, '--json'], options)
}

function linesOf(stdout: string): Line[] {
  return stdout
    .split('\n')
    .filter(line => line.startsWith('{') && line.endsWith('}'))
    .map(line => JSON.parse(line) as Line)
}
