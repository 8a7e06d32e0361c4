/** Where the index says that an entry lies; the rows come from the native core. */
import type { Backend } from '../backend/backend.js'
import { packName } from '../backend/object-name.js'
import { digestHex, DIGEST_BYTES } from '../core/digest.js'
import { LOCATED_ROW_BYTES } from '../native/batch.js'

/** What is looked up, and in what it is found. */
export interface IndexedPacks {
  readonly backend: Backend
  /** Handle of the native index. */
  readonly index: number
}

/** A copy of an entry. */
export interface EntryPlace {
  /** Name of the pack. */
  readonly pack: string
  /** Size of the pack when it was indexed. */
  readonly packBytes: number
  readonly codec: number
  readonly offset: number
  readonly stored: number
}

/** The place in the row at `position`; null where the index knows none. */
export function placeAt(rows: Uint8Array, position: number): EntryPlace | null {
  const row = rows.subarray(position * LOCATED_ROW_BYTES, (position + 1) * LOCATED_ROW_BYTES)
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
  if (view.getUint8(0) === 0) return null
  return {
    codec: view.getUint8(1),
    offset: view.getUint32(4, true),
    stored: view.getUint32(8, true),
    packBytes: Number(view.getBigUint64(16, true)),
    pack: packName(digestHex(row.subarray(24, 24 + DIGEST_BYTES))),
  }
}

/** All places in rows of which each is one. */
export function placesIn(rows: Uint8Array): EntryPlace[] {
  const places = Array.from({ length: rows.length / LOCATED_ROW_BYTES }, (_, position) =>
    placeAt(rows, position),
  )
  return places.filter(place => place !== null)
}
