/**
 * XDR (RFC 4506), as far as libvirt's protocol needs it: big-endian, everything in units of four bytes.
 * What is read comes from a stranger: a length is held against what is there before it is used.
 */
import { MoverError } from '../../core/errors.js'

/** The longest string in libvirt's protocol: VIR_NET_MESSAGE_STRING_MAX in src/rpc/virnetprotocol.x. */
export const XDR_STRING_BYTES_MAX = 4 * 1024 * 1024

const UNIT = 4

/** Puts values one behind the other. */
export class XdrWriter {
  readonly #parts: Buffer[] = []

  uint(value: number): this {
    const part = Buffer.alloc(UNIT)
    part.writeUInt32BE(value)
    this.#parts.push(part)
    return this
  }

  int(value: number): this {
    const part = Buffer.alloc(UNIT)
    part.writeInt32BE(value)
    this.#parts.push(part)
    return this
  }

  /** Bytes of a length that both sides know. */
  opaque(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes), Buffer.alloc(paddingOf(bytes.length)))
    return this
  }

  /** ARGUMENT_INVALID for what libvirt would not read, or would read otherwise. */
  string(text: string): this {
    const bytes = Buffer.from(text)
    if (bytes.length > XDR_STRING_BYTES_MAX || text.includes('\0')) {
      throw new MoverError('ARGUMENT_INVALID', 'libvirt takes no text with NUL or beyond 4 MiB')
    }
    return this.uint(bytes.length).opaque(bytes)
  }

  /** A string that may be absent. */
  optionalString(text: string | null): this {
    return text === null ? this.uint(0) : this.uint(1).string(text)
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** Takes values one behind the other. Throws HYPERVISOR_FAILED for bytes that cannot be what is asked. */
export class XdrReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  uint(): number {
    return this.#take(UNIT).readUInt32BE()
  }

  int(): number {
    return this.#take(UNIT).readInt32BE()
  }

  /** 64 bits; HYPERVISOR_FAILED where a number cannot hold them exactly. */
  ulong(): number {
    const value = this.#take(2 * UNIT).readBigUInt64BE()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`${value} is no number of bytes`)
    return Number(value)
  }

  long(): number {
    return Number(this.#take(2 * UNIT).readBigInt64BE())
  }

  double(): number {
    return this.#take(2 * UNIT).readDoubleBE()
  }

  opaque(length: number): Buffer {
    const bytes = this.#take(length)
    this.#take(paddingOf(length))
    return bytes
  }

  string(): string {
    const length = this.uint()
    if (length > XDR_STRING_BYTES_MAX) throw malformed(`a string of ${length} bytes`)
    return this.opaque(length).toString('utf8')
  }

  optional<T>(read: (reader: this) => T): T | null {
    const isThere = this.uint()
    if (isThere > 1) throw malformed(`${isThere} says neither that something is there nor that not`)
    return isThere === 1 ? read(this) : null
  }

  /** `itemBytesMin`, the least that an item takes, bounds what a count may claim. */
  array<T>(itemBytesMin: number, read: (reader: this) => T): T[] {
    const count = this.uint()
    if (count * itemBytesMin > this.#bytes.length - this.#at) throw malformed(`${count} items`)
    return Array.from({ length: count }, () => read(this))
  }

  /** Nothing may follow: what is left over was not understood. */
  end(): void {
    const left = this.#bytes.length - this.#at
    if (left > 0) throw malformed(`${left} bytes too many`)
  }

  #take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw malformed(`it ends ${end - this.#bytes.length} bytes early`)
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}

function paddingOf(length: number): number {
  return (UNIT - (length % UNIT)) % UNIT
}

function malformed(what: string): MoverError {
  return new MoverError('HYPERVISOR_FAILED', `libvirt's answer cannot be read: ${what}`, {
    remedy: 'see that the socket is libvirt’s; a newer libvirt may need a newer mover',
  })
}
