/** Makes system calls of another process fail, as a disk or a file system does: by strace, below Node and Rust. */
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'

export interface Fault {
  /** Names of system calls, with commas. */
  readonly call: string
  /** As strace takes it: `error=EIO`, or `retval=0` for a call that does nothing and says so. */
  readonly answer: string
  /** Only calls that touch this path; all, unless given. */
  readonly path?: string
  /** Which of a thread's calls, as strace takes it: `2`, `2+`; all, unless given. */
  readonly when?: string
  /** A file for what strace saw. */
  readonly log: string
}

/** What is put before a program so that its calls fail. */
export function failing({ call, answer, path, when, log }: Fault): string[] {
  rmSync(log, { force: true })
  return [
    ...['strace', '-f', '-qq', '-o', log],
    ...(path === undefined ? [] : ['-P', path]),
    ...['-e', `trace=${call}`],
    ...['-e', `inject=${call}:${answer}${when === undefined ? '' : `:when=${when}`}`],
  ]
}

/** The calls that failed, as strace wrote them down. */
export function failedCalls(log: string): string[] {
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter(line => line.includes('(INJECTED)'))
}

/** The last argument of the calls that failed: the offsets of reads and writes. */
export function failedOffsets(log: string): number[] {
  return failedCalls(log).map(line => Number(/, (\d+)\) += /.exec(line)?.[1]))
}

/** Why calls cannot be made to fail here; false where they can: `{ skip: noStrace }`. */
export const noStrace: string | false =
  spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0 ? false : 'needs strace'
