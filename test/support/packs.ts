/** Packs written byte by byte from FORMAT.md, right ones and hostile ones. */
import { CODECS, ENTRY_TYPES, type Codec, type EntryType } from '../../src/core/pack.js'
import { deriveDigest, hashBytes } from '../../src/native/blake3.js'

/** An entry as it is to stand in the pack; what is not given is right. */
export interface MadeEntry {
  readonly type?: EntryType
  readonly codec?: Codec
  readonly stored: Uint8Array
  /** Plain bytes; those stored, unless given. */
  readonly plain?: Uint8Array
  /** What head and row claim. */
  readonly plainBytes?: number
  readonly storedBytes?: number
  readonly digest?: Uint8Array
}

export interface MadePack {
  readonly repositoryId: string
  readonly entries: readonly MadeEntry[]
  readonly type?: EntryType
  /** Written over fields of the trailer before its checksum is made. */
  readonly trailer?: (trailer: Buffer) => void
  readonly header?: (header: Buffer) => void
}

/** The bytes of a pack, and its id. */
export function packOf(pack: MadePack): { readonly bytes: Buffer; readonly id: string } {
  const header = headerOf(pack)
  const frames: Buffer[] = []
  const named: Buffer[] = []
  const rows: Buffer[] = []
  let end = header.length
  for (const entry of pack.entries) {
    const head = headOf(entry, pack.type ?? 'data')
    frames.push(head, Buffer.from(entry.stored))
    named.push(head, Buffer.from(hashBytes(entry.stored)))
    rows.push(rowOf(head, end + head.length))
    end += head.length + entry.stored.length
  }
  const table = Buffer.concat(rows)
  const padding = (4096 - ((end + table.length + 64) % 4096)) % 4096
  const trailer = Buffer.alloc(64)
  trailer.write('MOVRPEND', 'latin1')
  trailer.writeUInt16LE(1, 8)
  trailer.writeUInt32LE(rows.length, 12)
  trailer.writeBigUInt64LE(BigInt(end + padding), 16)
  trailer.writeBigUInt64LE(BigInt(end), 24)
  pack.trailer?.(trailer)
  checksum(Buffer.concat([table, trailer.subarray(0, 48)])).copy(trailer, 48)
  const rest = [Buffer.alloc(padding), table, trailer]
  const id = hashBytes(Buffer.concat([header, ...named, ...rest]))
  return {
    bytes: Buffer.concat([header, ...frames, ...rest]),
    id: Buffer.from(id).toString('hex'),
  }
}

function headerOf({ repositoryId, type = 'data', header: change }: MadePack): Buffer {
  const header = Buffer.alloc(128)
  header.write('MOVRPACK', 'latin1')
  header.writeUInt16LE(1, 8)
  header.writeUInt8(ENTRY_TYPES[type], 10)
  Buffer.alloc(32, 0x5a).copy(header, 32)
  Buffer.from(repositoryId, 'hex').copy(header, 64)
  change?.(header)
  checksum(header.subarray(0, 112)).copy(header, 112)
  return header
}

function headOf(entry: MadeEntry, packType: EntryType): Buffer {
  const { stored, type = packType, codec = 'none', plain = stored } = entry
  const head = Buffer.alloc(64)
  head.write('MENT', 'latin1')
  head.writeUInt8(ENTRY_TYPES[type], 4)
  head.writeUInt8(CODECS[codec], 5)
  head.writeUInt32LE(entry.plainBytes ?? plain.length, 8)
  head.writeUInt32LE(entry.storedBytes ?? stored.length, 12)
  Buffer.from(entry.digest ?? digestOf(plain, type)).copy(head, 16)
  checksum(head.subarray(0, 48)).copy(head, 48)
  return head
}

function rowOf(head: Buffer, offset: number): Buffer {
  const row = Buffer.alloc(48)
  head.copy(row, 0, 16, 48)
  row.writeUInt32LE(offset, 32)
  head.copy(row, 36, 12, 16)
  head.copy(row, 40, 8, 12)
  head.copy(row, 44, 4, 6)
  return row
}

function digestOf(plain: Uint8Array, type: EntryType): Uint8Array {
  return type === 'page' ? deriveDigest('mover 1 tree page', plain) : hashBytes(plain)
}

function checksum(bytes: Uint8Array): Buffer {
  return Buffer.from(hashBytes(bytes)).subarray(0, 16)
}
