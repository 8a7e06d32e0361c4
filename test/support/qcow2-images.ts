/** Images of QEMU's, what happens to their disks, and programs that have them open. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { socketPath } from './nbd-servers.js'

/** Runs qemu-img; what it says is returned. */
export function qemuImg(...args: readonly string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A new image, with `-o` options. */
export function createImage(image: string, size: string, ...options: readonly string[]): void {
  const given = options.flatMap(option => ['-o', option])
  qemuImg('create', '-q', '-f', 'qcow2', ...given, image, size)
}

/** A dirty bitmap that counts from now on. */
export function addBitmap(image: string, bitmap: string, granularity = '64k'): void {
  qemuImg('bitmap', '--add', '-g', granularity, image, bitmap)
}

/** What a guest does to its disk while its tracker sees it: commands of qemu-io. */
export function guest(image: string, ...commands: readonly string[]): void {
  const args = commands.flatMap(command => ['-c', command])
  const said = execFileSync('qemu-io', ['-f', 'qcow2', ...args, image], { encoding: 'utf8' })
  if (/failed|error/i.test(said)) throw new Error(said)
}

/** Writes bytes into a file where they do not belong. */
export function poke(file: string, offset: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, bytes, 0, bytes.length, offset)
  closeSync(descriptor)
}

export function peek(file: string, offset: number, length: number): Buffer {
  const descriptor = openSync(file, 'r')
  const bytes = Buffer.alloc(length)
  readSync(descriptor, bytes, 0, length, offset)
  closeSync(descriptor)
  return bytes
}

/** Sets bits of a big-endian number of 8 bytes, or clears them. */
export function setBits(file: string, offset: number, bits: bigint, isSet = true): void {
  const bytes = peek(file, offset, 8)
  const old = bytes.readBigUInt64BE()
  bytes.writeBigUInt64BE(isSet ? old | bits : old & ~bits)
  poke(file, offset, bytes)
}

/** A storage daemon that has an image open for writing, and does what it is told over QMP. */
export class StorageDaemon {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>
  readonly #socket: string

  private constructor(child: ChildProcess, answers: AsyncIterator<string>, socket: string) {
    this.#child = child
    this.#answers = answers
    this.#socket = socket
  }

  /** The image is its node `disk`; it is killed when the test ends, if it still runs. */
  static async open(t: Test, image: string): Promise<StorageDaemon> {
    const file = `driver=file,node-name=file,filename=${image}`
    const blockdevs = ['--blockdev', file, '--blockdev', 'driver=qcow2,node-name=disk,file=file']
    const monitor = ['--chardev', 'stdio,id=monitor', '--monitor', 'chardev=monitor']
    // An export that may write makes it take the image for itself.
    const socket = socketPath(t)
    const server = ['--nbd-server', `addr.type=unix,addr.path=${socket}`]
    const exported = ['--export', 'type=nbd,id=disk,node-name=disk,writable=on']
    const args = [...blockdevs, ...server, ...exported, ...monitor]
    const child = spawn('qemu-storage-daemon', args, { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    })
    await once(child, 'spawn')
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    await answers.next()
    const daemon = new StorageDaemon(child, answers, socket)
    await daemon.qmp('qmp_capabilities')
    return daemon
  }

  /** Runs a command; throws what the daemon says against it. */
  async qmp(execute: string, args: object = {}): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    for (;;) {
      const line = await this.#answers.next()
      if (line.done === true) throw new Error('the storage daemon is gone')
      const answer = JSON.parse(line.value) as { return?: unknown; error?: { desc: string } }
      if (answer.error !== undefined) throw new Error(answer.error.desc)
      if ('return' in answer) return answer.return
    }
  }

  /** What a guest does: commands of qemu-io, by way of the daemon. */
  guest(...commands: readonly string[]): void {
    const args = commands.flatMap(command => ['-c', command])
    execFileSync('qemu-io', ['-f', 'raw', ...args, `nbd+unix:///disk?socket=${this.#socket}`])
  }

  /** Ends it in order: its bitmaps are saved. */
  async quit(): Promise<void> {
    await this.qmp('quit')
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}
