/** A volume served by qemu-nbd on a Unix socket: to mover and to nbdcopy it is the same server. */
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from '../harness/command.js'
import { isListening } from './is-listening.js'

export interface ServedVolume extends AsyncDisposable {
  readonly uri: string
}

const EXPORT = 'volume'
const CLIENTS = 16

/** Serves an image for reading until it is disposed of. */
export async function serveImage(
  image: string,
  { format, socket }: { readonly format: 'raw' | 'qcow2'; readonly socket: string },
): Promise<ServedVolume> {
  const words = ['-r', '-t', '-e', String(CLIENTS), '-k', socket, '-f', format, '-x', EXPORT, image]
  return serve(socket, ['qemu-nbd', ...words])
}

export interface ServedMap {
  readonly volumeBytes: number
  readonly extents: number
  readonly headers: 'extended' | 'structured'
}

/** Serves a dirty bitmap called `map` until it is disposed of. */
export async function serveMap(
  socket: string,
  { volumeBytes, extents, headers }: ServedMap,
): Promise<ServedVolume> {
  const program = join(import.meta.dirname, 'map-server.js')
  const words = [socket, String(volumeBytes), String(extents), headers]
  return serve(socket, [process.execPath, program, ...words])
}

async function serve(socket: string, argv: readonly [string, ...string[]]): Promise<ServedVolume> {
  rmSync(socket, { force: true })
  const [program, ...words] = argv
  const server = spawn(program, words, { stdio: ['ignore', 'ignore', 'inherit'] })
  const ended = once(server, 'exit')
  while (!isListening(socket)) {
    if (server.exitCode !== null) throw new Error(`${program} ended with ${server.exitCode}`)
    await sleep(20)
  }
  return {
    uri: `nbd+unix:///${EXPORT}?socket=${socket}`,
    async [Symbol.asyncDispose]() {
      server.kill()
      await ended
    },
  }
}

/** Reads all of it that is no hole, and keeps nothing. */
export function readByNbdcopy(uri: string): Command {
  return { argv: ['nbdcopy', uri, 'null:'] }
}

/** A flushed copy. */
export function copyByNbdcopy(uri: string, copy: string): Command {
  return { argv: ['nbdcopy', '--flush', uri, copy] }
}
