/** Runs the binary that was compiled with the tests, as a user would. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
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
  /** What stdout has to hold before that time begins; without it, it begins at once. */
  readonly killFrom?: RegExp
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
  { repository, cwd, env, under = [], killAfterMs, killFrom = /^/ }: RunOptions = {},
): Promise<Finished> {
  const repo = repository === undefined ? [] : ['--repo', repository]
  const [program = '', ...rest] = [...under, process.execPath, moverScript, ...args, ...repo]
  const child = spawn(program, rest, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let timer: NodeJS.Timeout | undefined
  const look = (said: string) => {
    if (killAfterMs === undefined || timer !== undefined || !killFrom.test(said)) return
    timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  }
  look('')
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const [stdout, stderr, [code, signal]] = await Promise.all([
    textOf(child.stdout, look),
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

/** All that a stream says, and `look` at it whenever there is more. */
async function textOf(stream: Readable, look: (said: string) => void): Promise<string> {
  let said = ''
  for await (const piece of stream.setEncoding('utf8')) look((said += String(piece)))
  return said
}

function linesOf(stdout: string): Line[] {
  return stdout
    .split('\n')
    .filter(line => line.startsWith('{') && line.endsWith('}'))
    .map(line => JSON.parse(line) as Line)
}
