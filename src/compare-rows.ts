import type { SlotRun } from './core/chunk.js'
import type { SlotRows } from './manifest/slot-rows.js'
import { SLOT_ROW_BYTES, SLOT_ZERO } from './native/batch.js'

/** Whether two rows hold the same: both zero, or data of one digest. */
export function rowsAgree(a: Uint8Array, b: Uint8Array, position: number): boolean {
  const from = position * SLOT_ROW_BYTES
  const isZero = a[from] === SLOT_ZERO
  if (isZero !== (b[from] === SLOT_ZERO)) return false
  if (isZero) return true
  for (let byte = from + 1; byte < from + SLOT_ROW_BYTES; byte += 1) {
    if (a[byte] !== b[byte]) return false
  }
  return true
}

/** Yields the maximal runs of slots whose rows differ, with the rows of `wanted`. */
export function* differingRuns(wanted: SlotRows, found: Uint8Array): Generator<SlotRows> {
  const rows = wanted.rows ?? new Uint8Array(wanted.count * SLOT_ROW_BYTES)
  let start = -1
  for (let position = 0; position <= wanted.count; position += 1) {
    const differs = position < wanted.count && !rowsAgree(rows, found, position)
    if (differs && start < 0) start = position
    if (!differs && start >= 0) {
      const part = rows.subarray(start * SLOT_ROW_BYTES, position * SLOT_ROW_BYTES)
      yield { first: wanted.first + start, count: position - start, rows: part }
      start = -1
    }
  }
}

/** Joins ascending slots into runs. */
export function runsOf(slots: Iterable<number>): SlotRun[] {
  const runs: { first: number; count: number }[] = []
  for (const slot of slots) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === slot) last.count += 1
    else runs.push({ first: slot, count: 1 })
  }
  return runs
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
    const isZero = rows[start * SLOT_ROW_BYTES] === SLOT_ZERO
    const continues = position < count && (rows[position * SLOT_ROW_BYTES] === SLOT_ZERO) === isZero
    if (continues) continue
    yield { first: first + start, count: position - start, isZero }
    start = position
  }
}
