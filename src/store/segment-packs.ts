import type { Backend } from '../backend/backend.js'
import type { AbortOptions } from '../core/abort.js'
import { DIGEST_BYTES, digestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { SEGMENT_BYTES_READ_MAX } from '../core/limits.js'

const HEADER_BYTES = 4096
const PACK_COUNT_AT = 56
const PACKS_AT = 104
const PACK_ROW_BYTES = 48

/** A pack as a segment knows it. */
export interface NamedPack {
  /** Hex. */
  readonly id: string
  readonly bytes: number
}

/** The packs that an index segment names. Throws SEGMENT_CORRUPT for lengths out of bounds. */
export async function packsOfSegment(
  backend: Backend,
  name: string,
  options?: AbortOptions,
): Promise<NamedPack[]> {
  const header = await backend.getRange(name, 0, HEADER_BYTES, options)
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  const length = view.getBigUint64(PACK_COUNT_AT, true) * BigInt(PACK_ROW_BYTES)
  const offset = view.getBigUint64(PACKS_AT, true)
  if (offset + length > BigInt(SEGMENT_BYTES_READ_MAX)) {
    throw new MoverError('SEGMENT_CORRUPT', `${name} names more packs than it can hold`)
  }
  const rows = await backend.getRange(name, Number(offset), Number(length), options)
  const table = new DataView(rows.buffer, rows.byteOffset, rows.byteLength)
  const packs: NamedPack[] = []
  for (let at = 0; at < rows.length; at += PACK_ROW_BYTES) {
    const id = digestHex(rows.subarray(at, at + DIGEST_BYTES))
    packs.push({ id, bytes: Number(table.getBigUint64(at + DIGEST_BYTES, true)) })
  }
  return packs
}
