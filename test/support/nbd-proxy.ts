/** A socket that passes all on to an NBD server, and notes what a client that only reads asks of it. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import { socketPath, uriOf } from './nbd-servers.js'

/** A request as it went over the wire. */
export interface SeenRequest {
  readonly headers: 'compact' | 'extended'
  readonly command: number
  readonly length: number
}

export interface NbdProxy {
  readonly uri: string
  /** Of all connections, in the order of their arrival. */
  readonly requests: readonly SeenRequest[]
}

/** A proxy before the server that a URI of a Unix socket names. */
export async function nbdProxy(t: Test, uri: string): Promise<NbdProxy> {
  const real = new URL(uri).searchParams.get('socket') ?? ''
  const path = socketPath(t)
  const requests: SeenRequest[] = []
  const server = createServer(client => pass(client, connect(real), requests))
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { uri: uriOf(path), requests }
}

function pass(client: Socket, server: Socket, requests: SeenRequest[]): void {
  const end = () => {
    client.destroy()
    server.destroy()
  }
  for (const socket of [client, server]) socket.on('error', end).on('close', end)
  let unread: Buffer = Buffer.alloc(0)
  let isAgreed = false
  client.on('data', (piece: Buffer) => {
    unread = Buffer.concat([unread, piece])
    if (!isAgreed) {
      const agreed = afterOptions(unread)
      isAgreed = agreed !== null
      unread = agreed ?? unread
    }
    if (isAgreed) unread = takeRequests(unread, requests)
  })
  client.pipe(server)
  server.pipe(client)
}

const OPT_GO = 7

/** What follows the client's flags and its options, of which GO is the last; null until it is there. */
function afterOptions(bytes: Buffer): Buffer | null {
  let at = 4
  while (bytes.length >= at + 16) {
    const option = bytes.readUInt32BE(at + 8)
    const end = at + 16 + bytes.readUInt32BE(at + 12)
    if (option === OPT_GO) return bytes.length < end ? null : bytes.subarray(end)
    at = end
  }
  return null
}

const REQUEST_MAGIC = 0x25609513
const EXTENDED_REQUEST_MAGIC = 0x21e41c71

/** Notes all requests that are there whole, none of which has a payload; gives back the rest. */
function takeRequests(bytes: Buffer, requests: SeenRequest[]): Buffer {
  let at = 0
  while (bytes.length >= at + 32 || (bytes.length >= at + 28 && isCompact(bytes, at))) {
    const headers = isCompact(bytes, at) ? 'compact' : 'extended'
    const command = bytes.readUInt16BE(at + 6)
    const length =
      headers === 'compact' ? bytes.readUInt32BE(at + 24) : Number(bytes.readBigUInt64BE(at + 24))
    requests.push({ headers, command, length })
    at += headers === 'compact' ? 28 : 32
  }
  return bytes.subarray(at)
}

function isCompact(bytes: Buffer, at: number): boolean {
  const magic = bytes.readUInt32BE(at)
  if (magic !== REQUEST_MAGIC && magic !== EXTENDED_REQUEST_MAGIC) {
    throw new Error(`${magic.toString(16)} begins no request`)
  }
  return magic === REQUEST_MAGIC
}
