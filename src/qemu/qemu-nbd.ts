import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MoverError, type MoverErrorCode } from '../core/errors.js'
import { SOCKET_PATH_BYTES_MAX } from '../core/limits.js'
import { programFailed, startQemuProgram, type QemuProgram } from './qemu-program.js'

/** A qemu-nbd of our own, which serves the disk in an image to us alone. */
export interface QemuNbd extends AsyncDisposable {
  readonly uri: string
  /** Takes the way to it away: who is connected stays, and a kill leaves nothing behind. */
  hide(): Promise<void>
  /** Waits until it has closed the image, which it does when its last client leaves. */
  finished(): Promise<void>
}

export interface QemuNbdOptions extends AbortOptions {
  readonly isWritten: boolean
  /** Of the error where the image cannot be served. */
  readonly code: MoverErrorCode
}

/** As many as our client opens. */
const CLIENTS_MAX = 4
const START_TIME_MS = 60_000
const FINISH_TIME_MS = 60_000
/** Between SIGTERM, at which it closes the image, and SIGKILL. */
const CLOSE_TIME_MS = 10_000
const POLL_MS = 5

/**
 * Serves the image at `path`, which is absolute, so that nothing of it is taken for a protocol. Its format is
 * said and not guessed. Throws an error of the options' code, which tells what qemu-nbd says.
 */
export async function openQemuNbd(path: string, options: QemuNbdOptions): Promise<QemuNbd> {
  const folder = await privateFolder()
  try {
    const server = await startServer(path, { folder, options })
    return {
      uri: `nbd+unix:///?socket=${encodeURIComponent(socketIn(folder))}`,
      hide: () => removeFolder(folder),
      finished: () => waitForEnd(server, options.code),
      async [Symbol.asyncDispose]() {
        await endServer(server)
        await removeFolder(folder)
      },
    }
  } catch (error) {
    await removeFolder(folder)
    throw error
  }
}

/** A folder that only we may enter. */
async function privateFolder(): Promise<string> {
  const prefix = join(tmpdir(), 'mover-')
  const isLong = Buffer.byteLength(socketIn(`${prefix}XXXXXX`)) > SOCKET_PATH_BYTES_MAX
  return mkdtemp(isLong ? '/tmp/mover-' : prefix)
}

function socketIn(folder: string): string {
  return join(folder, 'nbd')
}

function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true })
}

interface Start {
  readonly folder: string
  readonly options: QemuNbdOptions
}

/** Past the page cache, which may be older than a device is; where the file system cannot, through it. */
async function startServer(path: string, start: Start): Promise<QemuProgram> {
  try {
    return await startWith(path, 'none', start)
  } catch (error) {
    if (!(error instanceof MoverError) || !error.message.includes('O_DIRECT')) throw error
    return startWith(path, 'writeback', start)
  }
}

async function startWith(path: string, cache: string, start: Start): Promise<QemuProgram> {
  const { folder, options } = start
  const { isWritten, code, signal } = options
  const pidFile = join(folder, 'pid')
  const server = await startQemuProgram(
    'qemu-nbd',
    [
      ...['--socket', socketIn(folder), '--pid-file', pidFile, '--shared', `${CLIENTS_MAX}`],
      ...['--format', 'qcow2', '--cache', cache, '--discard', 'unmap'],
      ...(isWritten ? [] : ['--read-only']),
      ...['--', path],
    ],
    code,
  )
  try {
    await waitForStart(server, { pidFile, code, signal })
    return server
  } catch (error) {
    await endServer(server)
    throw error
  }
}

/** It writes its process id when all is done that can fail. */
async function waitForStart(
  { child, said, ended }: QemuProgram,
  options: { readonly pidFile: string; readonly code: MoverErrorCode } & AbortOptions,
): Promise<void> {
  const { pidFile, code } = options
  const untilMs = performance.now() + START_TIME_MS
  for (;;) {
    throwIfAborted(options)
    if (child.exitCode !== null || child.signalCode !== null) {
      throw programFailed('qemu-nbd', { exit: await ended, said: said(), code })
    }
    if (await isThere(pidFile)) return
    if (performance.now() > untilMs) {
      throw programFailed('qemu-nbd', { exit: null, said: 'it does not begin to serve', code })
    }
    await sleep(POLL_MS)
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    return (await stat(file)).size > 0
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}

async function waitForEnd({ ended, said }: QemuProgram, code: MoverErrorCode): Promise<void> {
  const exit = await within(ended, FINISH_TIME_MS)
  if (exit === 0) return
  const late = `it has not closed the image after ${FINISH_TIME_MS / 1000} s`
  throw programFailed('qemu-nbd', {
    exit: exit === 'late' ? null : exit,
    said: exit === 'late' ? late : said(),
    code,
  })
}

async function endServer({ child, ended }: QemuProgram): Promise<void> {
  child.kill('SIGTERM')
  if ((await within(ended, CLOSE_TIME_MS)) === 'late') child.kill('SIGKILL')
  await ended
}

async function within<T>(promise: Promise<T>, timeMs: number): Promise<T | 'late'> {
  const timer = new AbortController()
  const late = sleep(timeMs, 'late' as const, { signal: timer.signal }).catch(() => 'late' as const)
  try {
    return await Promise.race([promise, late])
  } finally {
    timer.abort()
  }
}
