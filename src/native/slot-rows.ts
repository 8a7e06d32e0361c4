/**
 * Rows of state and digest, 33 bytes each: what the native core answers for slots, what a page
 * holds for its children, and what a tree is walked by. A zero row has no digest: 33 zero bytes.
 */
import { DIGEST_BYTES } from '../core/digest.js'

export const ROW_BYTES = 1 + DIGEST_BYTES

/** All bytes of the slot, or of every slot below the child, are zero. */
export const ROW_ZERO = 0
/** The slot's chunk, or the child's page, has the digest that follows; as 2 does, of chunks just stored. */
export const ROW_DATA = 1

/** A run of slots with a row for each, or null where all of them are zero. */
export interface SlotRows {
  readonly first: number
  readonly count: number
  readonly rows: Uint8Array | null
}

/** Whether the row at `position` is zero. */
export function isZeroRow(rows: Uint8Array, position: number): boolean {
  return rows[position * ROW_BYTES] === ROW_ZERO
}

/** The digest of the row at `position`, as a view. */
export function rowDigest(rows: Uint8Array, position: number): Uint8Array {
  return rows.subarray(position * ROW_BYTES + 1, (position + 1) * ROW_BYTES)
}

/** The rows from `position` on, as a view. */
export function rowsOf(rows: Uint8Array, position: number, count: number): Uint8Array {
  return rows.subarray(position * ROW_BYTES, (position + count) * ROW_BYTES)
}

/** A row of state data and this digest. */
export function dataRow(digest: Uint8Array): Uint8Array {
  const row = new Uint8Array(ROW_BYTES)
  row[0] = ROW_DATA
  row.set(digest, 1)
  return row
}

/** Joins neighbouring runs of zero, so that one hole comes out as one run. */
export async function* joinZeroRuns(runs: AsyncIterable<SlotRows>): AsyncGenerator<SlotRows> {
  let first = 0
  let count = 0
  for await (const run of runs) {
    if (count > 0 && (run.rows !== null || run.first !== first + count)) {
      yield { first, count, rows: null }
      count = 0
    }
    if (run.rows !== null) yield run
    else if (count > 0) count += run.count
    else ({ first, count } = run)
  }
  if (count > 0) yield { first, count, rows: null }
}
