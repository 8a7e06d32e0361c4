/** A connection to libvirt over its own socket: calls and their answers. */
import { connect, type Socket } from 'node:net'
import type { AbortOptions } from '../../core/abort.js'
import { throwIfAborted } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { libvirtError } from './libvirt-error.js'
import {
  encodePacket,
  PACKET_STATUS_OK,
  PACKET_TYPES,
  PacketCutter,
  type Packet,
} from './packet.js'
import { PROCEDURES, REMOTE_PROGRAM, REMOTE_VERSION, type Procedure } from './procedures.js'
import { XdrReader, XdrWriter } from './xdr.js'

/** Where libvirt listens, monolithic and modular, in the order in which they are tried. */
export const LIBVIRT_SOCKETS = ['/run/libvirt/virtqemud-sock', '/run/libvirt/libvirt-sock'] as const

/** Waits for one answer. */
interface Waiting {
  readonly doing: string
  readonly resolve: (body: Buffer) => void
  readonly reject: (error: unknown) => void
}

/** What a call is: `doing` completes the sentence "cannot …" of its error. */
export interface Call extends AbortOptions {
  readonly procedure: Procedure
  readonly doing: string
  readonly args?: XdrWriter
}

/** REMOTE_AUTH_*: enum remote_auth_type in remote_protocol.x. */
const AUTH_TYPES = ['none', 'sasl', 'polkit'] as const

/**
 * An open connection. Calls may be made side by side; libvirt answers each when it is done. An aborted
 * wait gives up the answer, not what libvirt does.
 */
export class LibvirtConnection implements AsyncDisposable {
  readonly #socket: Socket
  readonly #cutter = new PacketCutter()
  readonly #waiting = new Map<number, Waiting>()
  #serial = 0
  #end: MoverError | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', piece => this.#take(piece))
    socket.on('error', cause => this.#fail(lost(cause)))
    socket.on('close', () => this.#fail(lost()))
  }

  /**
   * Connects to QEMU's driver at one of `paths`, the first that is there. Throws HYPERVISOR_FAILED where
   * none answers, and HYPERVISOR_REFUSED where a user has to prove who they are, or may not.
   */
  static async open(
    paths: readonly string[] = LIBVIRT_SOCKETS,
    options?: AbortOptions,
  ): Promise<LibvirtConnection> {
    throwIfAborted(options)
    const connection = new LibvirtConnection(await firstSocket(paths))
    try {
      await connection.#authenticate(options)
      const args = new XdrWriter().optionalString('qemu:///system').uint(0)
      await connection.call({ procedure: 'connectOpen', doing: 'open QEMU', args, ...options })
      return connection
    } catch (error) {
      connection.#socket.destroy()
      throw error
    }
  }

  /** The answer, to be read in the order of its struct. Throws what `libvirtError` makes, or that the connection is lost. */
  async call({ procedure, doing, args, signal }: Call): Promise<XdrReader> {
    throwIfAborted({ signal })
    if (this.#end !== null) throw this.#end
    const serial = (this.#serial += 1)
    const packet = encodePacket({
      program: REMOTE_PROGRAM,
      version: REMOTE_VERSION,
      procedure: PROCEDURES[procedure],
      type: PACKET_TYPES.call,
      serial,
      status: PACKET_STATUS_OK,
      body: args?.bytes() ?? Buffer.alloc(0),
    })
    const abandon = () => {
      this.#waiting.get(serial)?.reject(abortedWait(signal))
      this.#waiting.delete(serial)
    }
    signal?.addEventListener('abort', abandon, { once: true })
    try {
      const body = await new Promise<Buffer>((resolve, reject) => {
        this.#waiting.set(serial, { doing, resolve, reject })
        this.#socket.write(packet)
      })
      return new XdrReader(body)
    } finally {
      signal?.removeEventListener('abort', abandon)
    }
  }

  async #authenticate(options?: AbortOptions): Promise<void> {
    const doing = 'ask how to authenticate'
    const answer = await this.call({ procedure: 'authList', doing, ...options })
    const types = answer.array(4, reader => reader.int())
    if (types.length === 0 || types.includes(AUTH_TYPES.indexOf('none'))) return
    const names = types.map(type => AUTH_TYPES[type] ?? `type ${type}`).join(' or ')
    throw new MoverError('HYPERVISOR_REFUSED', `libvirt asks for authentication by ${names}`, {
      remedy:
        'run mover as root, or let its user use the socket without: auth_unix_rw = "none" in ' +
        'libvirtd.conf or virtqemud.conf, with unix_sock_group for the users who may',
    })
  }

  #take(piece: Buffer): void {
    try {
      for (const packet of this.#cutter.add(piece)) this.#answer(packet)
    } catch (error) {
      this.#fail(error instanceof MoverError ? error : lost(error))
    }
  }

  #answer({ type, serial, status, body }: Packet): void {
    // Events and keep-alive messages, which were not asked for, mean nothing here.
    if (type !== PACKET_TYPES.reply) return
    const waiting = this.#waiting.get(serial)
    if (waiting === undefined) return
    this.#waiting.delete(serial)
    if (status === PACKET_STATUS_OK) waiting.resolve(body)
    else waiting.reject(errorIn(body, waiting.doing))
  }

  #fail(error: MoverError): void {
    this.#end ??= error
    for (const { reject } of this.#waiting.values()) reject(this.#end)
    this.#waiting.clear()
    this.#socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end === null) {
      // A polite farewell; that it was heard changes nothing.
      await this.call({ procedure: 'connectClose', doing: 'close' }).catch(() => {})
    }
    this.#socket.destroy()
  }
}

/** What libvirt says went wrong, or that it cannot be read. */
function errorIn(body: Buffer, doing: string): unknown {
  try {
    return libvirtError(body, doing)
  } catch (error) {
    return error
  }
}

async function firstSocket(paths: readonly string[]): Promise<Socket> {
  const failures: string[] = []
  for (const path of paths) {
    try {
      return await connected(path)
    } catch (error) {
      failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new MoverError('HYPERVISOR_FAILED', `no libvirt answers (${failures.join('; ')})`, {
    stage: 'open',
    remedy: 'see that libvirtd or virtqemud runs, or name its socket: libvirt:DOMAIN?socket=PATH',
  })
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
    socket.once('error', reject)
  })
}

function lost(cause?: unknown): MoverError {
  return new MoverError('HYPERVISOR_FAILED', 'the connection to libvirt is lost', {
    retryable: true,
    remedy: 'see that libvirtd or virtqemud runs, and try again',
    cause,
  })
}

function abortedWait(signal: AbortSignal | undefined): unknown {
  try {
    throwIfAborted({ signal })
  } catch (error) {
    return error
  }
  return lost()
}
