/** How QEMU's own programs are started: none outlives us, whatever becomes of us. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { MoverError, type MoverErrorCode } from '../core/errors.js'

/** A program that was started. */
export interface QemuProgram {
  readonly child: ChildProcess
  /** What it has said on stderr so far, the first few KiB of it. */
  readonly said: () => string
  /** Resolves when it has ended, however; its exit code, or null where a signal ended it. */
  readonly ended: Promise<number | null>
}

const SAID_BYTES_MAX = 4096
/** What setpriv exits with where there is no such program. */
const NOT_FOUND = 127

/**
 * Starts a program of QEMU's. It gets SIGTERM when we are gone, even by SIGKILL, and is in a session of its
 * own, so that an interrupt from the terminal is ours to handle. Throws an error of `code` where the
 * system cannot start it.
 */
export async function startQemuProgram(
  program: string,
  args: readonly string[],
  code: MoverErrorCode,
): Promise<QemuProgram> {
  const line = ['--pdeathsig', 'TERM', '--', program, ...args]
  const child = spawn('setpriv', line, {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const started = once(child, 'spawn')
  const ended = once(child, 'exit').then(([exit]: (number | null)[]) => exit ?? null)
  // It is awaited by whoever wants to know.
  ended.catch(() => {})
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    said = (said + piece).slice(0, SAID_BYTES_MAX)
  })
  try {
    await started
  } catch (cause) {
    throw new MoverError(code, `setpriv cannot be started, and with it ${program}`, {
      stage: 'open',
      remedy: 'install util-linux',
      cause,
    })
  }
  return { child, said: () => said.trim(), ended }
}

/** The error of a program that ended with a failure. */
export function programFailed(
  program: string,
  { exit, said, code }: { exit: number | null; said: string; code: MoverErrorCode },
): MoverError {
  if (exit === NOT_FOUND) {
    const remedy = 'install it: on Debian it is in the package qemu-utils'
    return new MoverError(code, `${program} is not installed`, { stage: 'open', remedy })
  }
  const isLocked = /Failed to get (shared )?"[\w ]+" lock/.test(said)
  const why = said === '' ? `it ended with ${exit ?? 'a signal'}` : said
  return new MoverError(code, `${program} failed: ${why.replace(/\s+/g, ' ')}`, {
    stage: 'open',
    retryable: isLocked,
    remedy: isLocked
      ? IMAGE_IN_USE_REMEDY
      : `${program} says what it does not like about the image`,
  })
}

/** What to do about an image that somebody has open. */
export const IMAGE_IN_USE_REMEDY =
  'end the program that uses the image, or go by way of it: a machine that runs is backed up as ' +
  'qmp:PATH/NODE or libvirt:DOMAIN, and what it exports over NBD has a URI'
