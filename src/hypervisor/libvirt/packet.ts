/**
 * The packets of libvirt's RPC: a length, a header of six words, and what the procedure says. The layout
 * and the limits are those of libvirt's src/rpc/virnetprotocol.x.
 */
import { MoverError } from '../../core/errors.js'
import { XdrWriter } from './xdr.js'

/** VIR_NET_MESSAGE_MAX: the longest packet, its length word not counted. */
export const PACKET_BYTES_MAX = 32 * 1024 * 1024
const LENGTH_BYTES = 4
const HEADER_BYTES = 24
const HEAD_BYTES = LENGTH_BYTES + HEADER_BYTES

/** Kinds of packets; others pass files, which we never ask for. */
export const PACKET_TYPES = { call: 0, reply: 1, message: 2, stream: 3 } as const
export const PACKET_STATUS_OK = 0

export interface PacketHeader {
  readonly program: number
  readonly version: number
  readonly procedure: number
  readonly type: number
  readonly serial: number
  readonly status: number
}

export interface Packet extends PacketHeader {
  readonly body: Buffer
}

/** The bytes of a packet. */
export function encodePacket({ body, ...header }: Packet): Buffer {
  const length = HEAD_BYTES + body.length
  if (length - LENGTH_BYTES > PACKET_BYTES_MAX) {
    throw new MoverError('ARGUMENT_INVALID', 'that is more than fits into a packet of libvirt')
  }
  const { program, version, procedure, type, serial, status } = header
  const head = new XdrWriter().uint(length).uint(program).uint(version)
  head.int(procedure).int(type).uint(serial).int(status)
  return Buffer.concat([head.bytes(), body])
}

/**
 * Cuts a stream of bytes into packets. Pieces are kept until a packet is whole, and a length is
 * believed only within its bounds: HYPERVISOR_FAILED.
 */
export class PacketCutter {
  #pieces: Buffer[] = []
  #bytes = 0

  /** The packets that `piece` completes. */
  add(piece: Buffer): Packet[] {
    const packets: Packet[] = []
    this.#pieces.push(piece)
    this.#bytes += piece.length
    while (this.#bytes >= LENGTH_BYTES) {
      const length = this.#head(LENGTH_BYTES).readUInt32BE()
      if (length < HEAD_BYTES || length > LENGTH_BYTES + PACKET_BYTES_MAX) {
        throw new MoverError('HYPERVISOR_FAILED', `libvirt sent a packet of ${length} bytes`, {
          remedy: 'see that the socket is libvirt’s',
        })
      }
      if (this.#bytes < length) break
      const all = this.#head(length)
      this.#pieces = [all.subarray(length)]
      this.#bytes -= length
      packets.push(packetOf(all.subarray(0, length)))
    }
    return packets
  }

  /** One buffer that begins with what has come, at least `length` bytes of it. */
  #head(length: number): Buffer {
    const [first = Buffer.alloc(0)] = this.#pieces
    if (first.length >= length) return first
    const whole = Buffer.concat(this.#pieces)
    this.#pieces = [whole]
    return whole
  }
}

function packetOf(bytes: Buffer): Packet {
  return {
    program: bytes.readUInt32BE(4),
    version: bytes.readUInt32BE(8),
    procedure: bytes.readInt32BE(12),
    type: bytes.readInt32BE(16),
    serial: bytes.readUInt32BE(20),
    status: bytes.readInt32BE(24),
    body: bytes.subarray(HEAD_BYTES),
  }
}
