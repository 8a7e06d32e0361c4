/** Runs a program as somebody at a shell would, and says what it took: its start is in the time. */
import { spawn } from 'node:child_process'

export interface Command {
  readonly argv: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface Run {
  readonly wallSeconds: number
  /** User and system time of the program and the children it waited for. */
  readonly cpuSeconds: number
  readonly stdout: string
}

/** Bash writes its clock readings there, apart from what the program prints. */
const TIMING_FD = 3

/** Runs a command to its end. Throws with what it printed when its exit code is not 0. */
export async function runCommand(command: Command): Promise<Run> {
  // The inner redirection gives the program its own stderr back: bash alone writes to descriptor 3.
  const script = `TIMEFORMAT='%3R %3U %3S'; exec 4>&2 2>&${TIMING_FD}; time "$@" 2>&4 ${TIMING_FD}>&- 4>&-`
  const child = spawn('bash', ['-c', script, 'bash', ...command.argv], {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const [stdout, stderr, timing] = [1, 2, TIMING_FD].map(descriptor => {
    const chunks: Buffer[] = []
    const stream = child.stdio[descriptor] as NodeJS.ReadableStream
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    return () => Buffer.concat(chunks).toString()
  }) as [() => string, () => string, () => string]
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (code !== 0) {
    throw new Error(`${shown(command)} ended with ${code}\n${stderr() || stdout()}`.trimEnd())
  }
  const [wallSeconds, user, system] = timing().trim().split(/\s+/).map(Number)
  if (wallSeconds === undefined || user === undefined || system === undefined) {
    throw new Error(`no clock readings of ${shown(command)}: ${timing()}`)
  }
  return { wallSeconds, cpuSeconds: user + system, stdout: stdout() }
}

/** A command as one would type it. */
export function shown({ argv }: Command): string {
  return argv.map(word => (/^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word}'`)).join(' ')
}
