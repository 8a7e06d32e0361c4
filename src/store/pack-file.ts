import { DIGEST_BYTES, digestHex, digestsEqual } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { CHUNK_BYTES_MAX } from '../core/limits.js'
import { codecOf, ENTRY_TYPES, type EntryType, type PackEntry } from '../core/pack.js'
import { pageDigest, hashBytes } from '../native/blake3.js'
import { decodeLz4Block } from '../native/lz4.js'
import { decodeZstd } from '../native/zstd.js'

/*
 * The second reader of packs, in TypeScript throughout: `verify --independent` holds it against
 * the native one, with which it shares no code. The layout is in FORMAT.md.
 */

const HEADER_BYTES = 128
const FRAME_BYTES = 64
const ROW_BYTES = 48
const TRAILER_BYTES = 64
const CHECKSUM_BYTES = 16

/** Lists the entries of a pack, each frame checked against its row of the table. Throws PACK_CORRUPT. */
export function packEntries(pack: Uint8Array): PackEntry[] {
  const view = new DataView(pack.buffer, pack.byteOffset, pack.byteLength)
  if (pack.length < HEADER_BYTES + TRAILER_BYTES) throw corrupt('it is too short')
  checkHeader(pack, view)
  const { count, tableOffset, framesEnd } = trailerOf(pack, view)
  const entries: PackEntry[] = []
  let position = HEADER_BYTES
  for (let row = 0; row < count; row += 1) {
    const entry = entryAt(pack, view, tableOffset + row * ROW_BYTES)
    if (entry.offset !== position + FRAME_BYTES) throw corrupt(`entry ${row} is out of place`)
    if (entry.offset + entry.storedBytes > framesEnd) throw corrupt(`entry ${row} has no end`)
    checkFrame(pack, view, position, entry)
    position = entry.offset + entry.storedBytes
    entries.push(entry)
  }
  if (position !== framesEnd) throw corrupt('its frames do not end where the trailer says')
  return entries
}

/**
 * The digest that names a pack with these entries, all of them in their order: that of its bytes, in which
 * the digest of an entry's stored bytes stands for these.
 */
export function packDigest(pack: Uint8Array, entries: readonly PackEntry[]): Uint8Array {
  const parts = [pack.subarray(0, HEADER_BYTES)]
  let framesEnd = HEADER_BYTES
  for (const { offset, storedBytes } of entries) {
    framesEnd = offset + storedBytes
    parts.push(pack.subarray(offset - FRAME_BYTES, offset))
    parts.push(hashBytes(pack.subarray(offset, framesEnd)))
  }
  return hashBytes(Buffer.concat([...parts, pack.subarray(framesEnd)]))
}

/** Decodes one entry and compares its digest. Throws CHUNK_CORRUPT or CODEC_FAILED. */
export function decodeEntry(pack: Uint8Array, entry: PackEntry): Uint8Array {
  const stored = pack.subarray(entry.offset, entry.offset + entry.storedBytes)
  const plain = decode(stored, entry)
  const digest = entry.type === 'page' ? pageDigest(plain) : hashBytes(plain)
  if (plain.length !== entry.plainBytes || !digestsEqual(digest, entry.digest)) {
    throw new MoverError(
      'CHUNK_CORRUPT',
      `entry ${digestHex(entry.digest)} is not what its digest names`,
    )
  }
  return plain
}

function decode(stored: Uint8Array, { codec, plainBytes }: PackEntry): Uint8Array {
  switch (codec) {
    case 'none':
      return stored
    case 'lz4':
      return decodeLz4Block(stored, plainBytes)
    case 'zstd':
      return decodeZstd(stored, plainBytes)
  }
}

function checkHeader(pack: Uint8Array, view: DataView): void {
  if (textAt(pack, 0, 8) !== 'MOVRPACK') throw corrupt('it is not a pack')
  if (view.getUint16(8, true) !== 1 || view.getUint8(11) !== 0 || view.getUint32(12, true) !== 0) {
    throw corrupt('its version or encryption is unknown')
  }
  const sum = hashBytes(pack.subarray(0, HEADER_BYTES - CHECKSUM_BYTES))
  checkSum(pack, HEADER_BYTES - CHECKSUM_BYTES, sum, 'header')
}

function trailerOf(pack: Uint8Array, view: DataView) {
  const at = pack.length - TRAILER_BYTES
  if (textAt(pack, at, 8) !== 'MOVRPEND') throw corrupt('it has no trailer')
  const count = view.getUint32(at + 12, true)
  const tableOffset = Number(view.getBigUint64(at + 16, true))
  const framesEnd = Number(view.getBigUint64(at + 24, true))
  if (tableOffset + count * ROW_BYTES !== at || framesEnd > tableOffset) {
    throw corrupt('its table is not where the trailer says')
  }
  const sum = hashBytes(pack.subarray(tableOffset, pack.length - CHECKSUM_BYTES))
  checkSum(pack, pack.length - CHECKSUM_BYTES, sum, 'footer')
  return { count, tableOffset, framesEnd }
}

function entryAt(pack: Uint8Array, view: DataView, at: number): PackEntry {
  const codec = codecOf(view.getUint8(at + 45))
  const type = typeOf(view.getUint8(at + 44))
  const entry = {
    digest: pack.subarray(at, at + DIGEST_BYTES),
    offset: view.getUint32(at + 32, true),
    storedBytes: view.getUint32(at + 36, true),
    plainBytes: view.getUint32(at + 40, true),
  }
  const { storedBytes, plainBytes } = entry
  const isBounded = plainBytes >= 1 && plainBytes <= CHUNK_BYTES_MAX && storedBytes <= plainBytes
  if (codec === null || type === null || !isBounded) throw corrupt('an entry is out of bounds')
  if (codec === 'none' && storedBytes !== plainBytes) throw corrupt('a plain entry has two lengths')
  return { ...entry, codec, type }
}

function checkFrame(pack: Uint8Array, view: DataView, at: number, entry: PackEntry): void {
  const agrees =
    textAt(pack, at, 4) === 'MENT' &&
    typeOf(view.getUint8(at + 4)) === entry.type &&
    codecOf(view.getUint8(at + 5)) === entry.codec &&
    view.getUint32(at + 8, true) === entry.plainBytes &&
    view.getUint32(at + 12, true) === entry.storedBytes &&
    digestsEqual(pack.subarray(at + 16, at + 16 + DIGEST_BYTES), entry.digest)
  if (!agrees) throw corrupt(`the frame at ${at} is not what the table says`)
  checkSum(pack, at + 48, hashBytes(pack.subarray(at, at + 48)), `frame at ${at}`)
}

function checkSum(pack: Uint8Array, at: number, sum: Uint8Array, what: string): void {
  const found = pack.subarray(at, at + CHECKSUM_BYTES)
  if (!found.every((byte, index) => byte === sum[index])) throw corrupt(`its ${what} is damaged`)
}

function typeOf(number: number): EntryType | null {
  if (number === ENTRY_TYPES.data) return 'data'
  return number === ENTRY_TYPES.page ? 'page' : null
}

function textAt(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length))
}

function corrupt(message: string): MoverError {
  return new MoverError('PACK_CORRUPT', `the pack is damaged: ${message}`, { stage: 'verify' })
}
