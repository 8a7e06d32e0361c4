import type { SlotRun } from '../core/chunk.js'
import { ROW_BYTES, isZeroRow, rowsOf, type SlotRows } from '../native/slot-rows.js'

/** Whether two rows hold the same: both zero, or data of one digest. */
export function rowsAgree(a: Uint8Array, b: Uint8Array, position: number): boolean {
  const isZero = isZeroRow(a, position)
  if (isZero !== isZeroRow(b, position)) return false
  if (isZero) return true
  const from = position * ROW_BYTES
  for (let byte = from + 1; byte < from + ROW_BYTES; byte += 1) {
    if (a[byte] !== b[byte]) return false
  }
  return true
}

/** Yields the maximal runs of slots whose rows differ, with the rows of `wanted`. */
export function* differingRuns(wanted: SlotRows, found: Uint8Array): Generator<SlotRows> {
  const rows = wanted.rows ?? new Uint8Array(wanted.count * ROW_BYTES)
  let start = -1
  for (let position = 0; position <= wanted.count; position += 1) {
    const differs = position < wanted.count && !rowsAgree(rows, found, position)
    if (differs && start < 0) start = position
    if (!differs && start >= 0) {
      const part = rowsOf(rows, start, position - start)
      yield { first: wanted.first + start, count: position - start, rows: part }
      start = -1
    }
  }
}

/** Cuts rows into the longest runs that are all zero or all data. */
export function* partsByState({
  first,
  count,
  rows,
}: SlotRows): Generator<SlotRun & { readonly isZero: boolean }> {
  if (rows === null) {
    yield { first, count, isZero: true }
    return
  }
  let start = 0
  for (let position = 1; position <= count; position += 1) {
    const isZero = isZeroRow(rows, start)
    const continues = position < count && isZeroRow(rows, position) === isZero
    if (continues) continue
    yield { first: first + start, count: position - start, isZero }
    start = position
  }
}
