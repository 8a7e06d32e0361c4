/** Real NBD servers for tests, each on a socket of its own; gone when the test ends. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { isListening } from '../../bench/peers/is-listening.js'

const execute = promisify(execFile)

/** A server that listens. */
export interface NbdServer {
  readonly uri: string
  readonly child: ChildProcess
}

const EXPORT = 'vm 42/sda'

/** A new path for a socket: short, because a socket's path may have 107 bytes. */
export function socketPath(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'nbd-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'socket')
}

/** The URI of an export on a Unix socket. */
export function uriOf(socket: string, name = EXPORT): string {
  return `nbd+unix:///${encodeURIComponent(name)}?socket=${socket}`
}

/** Serves a file of some format with qemu-nbd. */
export async function qemuNbd(
  t: Test,
  file: string,
  options: { readonly format?: string; readonly args?: readonly string[] } = {},
): Promise<NbdServer> {
  const { format = 'raw', args = [] } = options
  const socket = socketPath(t)
  const child = start(t, 'qemu-nbd', [
    '-t',
    '-k',
    socket,
    '-f',
    format,
    '-x',
    EXPORT,
    ...args,
    file,
  ])
  await waitFor(child, () => isListening(socket))
  return { uri: uriOf(socket), child }
}

/** Serves an image of some format to be written, as a running QEMU would, with qemu-storage-daemon. */
export function storageDaemon(
  t: Test,
  image: string,
  { format }: { readonly format: string },
): Promise<NbdServer> {
  return daemon(t, 'qemu-storage-daemon', {
    socket: socketPath(t),
    disk: `driver=${format},node-name=disk,file.driver=file,file.filename=${image},discard=unmap`,
    exported: 'writable=on',
  })
}

/** Serves a qcow2 that nobody writes to, and one of its bitmaps, with the daemon of some QEMU. */
export function frozenImage(
  t: Test,
  image: string,
  { program, bitmap }: { readonly program: string; readonly bitmap: string },
): Promise<NbdServer> {
  return daemon(t, program, {
    socket: socketPath(t),
    disk: `driver=qcow2,node-name=disk,file.driver=file,file.filename=${image},read-only=on`,
    exported: `bitmaps.0=${bitmap}`,
  })
}

interface Daemon {
  readonly socket: string
  readonly disk: string
  readonly exported: string
}

async function daemon(
  t: Test,
  program: string,
  { socket, disk, exported }: Daemon,
): Promise<NbdServer> {
  const child = start(t, program, [
    ...['--blockdev', disk],
    ...['--nbd-server', `addr.type=unix,addr.path=${socket},max-connections=0`],
    ...['--export', `type=nbd,id=disk,node-name=disk,name=${EXPORT},${exported}`],
  ])
  await waitFor(child, () => isListening(socket))
  return { uri: uriOf(socket), child }
}

/** Serves what a plugin of nbdkit makes, through its filters, on a Unix socket. */
export async function nbdkit(t: Test, args: readonly string[]): Promise<NbdServer> {
  const socket = socketPath(t)
  const child = start(t, 'nbdkit', ['-f', '-U', socket, ...args])
  await waitFor(child, () => isListening(socket))
  return { uri: uriOf(socket), child }
}

/** The same on a port of this host. */
export async function nbdkitOnTcp(t: Test, args: readonly string[]): Promise<NbdServer> {
  const port = await freePort()
  const child = start(t, 'nbdkit', ['-f', '-i', '127.0.0.1', '-p', `${port}`, ...args])
  await waitFor(child, () => answers(port))
  return { uri: `nbd://127.0.0.1:${port}/`, child }
}

/** Copies all that a server serves into a file, by other means than ours. */
export async function copyOf(uri: string, file: string): Promise<void> {
  await execute('nbdcopy', [uri, file])
}

/** Throws unless qemu-img finds the same bytes in both. */
export async function compareImages(
  one: readonly [string, string],
  other: readonly [string, string],
): Promise<void> {
  await execute('qemu-img', ['compare', '-f', one[0], '-F', other[0], one[1], other[1]])
}

function start(t: Test, program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  // A program that is not there fails the wait for it.
  child.on('error', () => {})
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return child
}

async function waitFor(
  child: ChildProcess,
  isReady: () => boolean | Promise<boolean>,
): Promise<void> {
  for (let tries = 0; tries < 1500; tries += 1) {
    if (child.pid === undefined) throw new Error(`${child.spawnfile} is not installed`)
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended: ${child.exitCode}`)
    if (await isReady()) return
    await sleep(20)
  }
  throw new Error(`${child.spawnfile} does not listen`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
