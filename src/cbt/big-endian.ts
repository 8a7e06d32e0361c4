/** Numbers of formats that store the most significant byte first. */

/** Reads numbers at offsets that the caller has held against the length. */
export class BigEndian {
  readonly #view: DataView
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u8(offset: number): number {
    return this.#view.getUint8(offset)
  }

  u16(offset: number): number {
    return this.#view.getUint16(offset)
  }

  u32(offset: number): number {
    return this.#view.getUint32(offset)
  }

  /** Flags of 32 bits. */
  flags32(offset: number): bigint {
    return BigInt(this.#view.getUint32(offset))
  }

  /** Flags of 64 bits. */
  flags64(offset: number): bigint {
    return this.#view.getBigUint64(offset)
  }

  /** Null for what is beyond 2^53, and so beyond any file or volume here. */
  u64(offset: number): number | null {
    const value = this.#view.getBigUint64(offset)
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null
  }

  slice(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(offset, offset + length)
  }
}

/** Whether any of `wanted` is set. */
export function hasFlag(flags: bigint, wanted: bigint): boolean {
  return (flags & wanted) !== 0n
}

/** What is left of flags without some of them. */
export function flagsBeside(flags: bigint, known: bigint): bigint {
  return flags & ~known
}

/** Text that is stored as UTF-8; null where it is none. */
export function utf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}
