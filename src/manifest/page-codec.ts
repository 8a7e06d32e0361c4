/**
 * The bytes of a tree page, of its digest, and of a tree's root; `FORMAT.md` describes them. There
 * is one way to write a page, and a page written in any other is refused: else two trees of the
 * same content could have different roots.
 */
import { DIGEST_BYTES } from '../core/digest.js'
import { invariant } from '../core/invariant.js'
import { PAGE_CHILDREN, TREE_HEIGHT_MAX } from '../core/limits.js'
import { ROW_BYTES, ROW_DATA, ROW_ZERO, isZeroRow } from '../native/slot-rows.js'

const LEVEL_AT = 0
const COUNT_AT = 2
const STATES_AT = 8
const STATES_BYTES = 32
const DIGESTS_AT = STATES_AT + STATES_BYTES
const RESERVED_AT = [1, 4, 5, 6, 7]

invariant(PAGE_CHILDREN * 2 === STATES_BYTES * 8, 'a page has two bits of state a child')

/** Bytes of the largest page. */
export const PAGE_BYTES_MAX = DIGESTS_AT + PAGE_CHILDREN * DIGEST_BYTES

/** A node of the tree: the children of level 0 are slots, those of level n pages of level n - 1. */
export interface Page {
  readonly level: number
  /** 1 to 128 rows of 33 bytes, at least one of them data. */
  readonly rows: Uint8Array
}

/**
 * Writes a page into `into` at `at`, where there must be room for `PAGE_BYTES_MAX`; returns where it
 * ends. A page whose children are all zero does not exist.
 */
export function writePage({ level, rows }: Page, into: Uint8Array, at: number): number {
  const count = rows.length / ROW_BYTES
  invariant(Number.isInteger(count) && count >= 1 && count <= PAGE_CHILDREN, 'a page has children')
  invariant(level >= 0 && level < TREE_HEIGHT_MAX, 'a page is in the tree')
  invariant(at + PAGE_BYTES_MAX <= into.length, 'there is room for a page')
  into.fill(0, at, at + DIGESTS_AT)
  into[at + LEVEL_AT] = level
  into[at + COUNT_AT] = count
  let end = at + DIGESTS_AT
  for (let child = 0; child < count; child += 1) {
    if (isZeroRow(rows, child)) continue
    const states = at + STATES_AT + (child >> 2)
    into[states] = (into[states] ?? 0) | (ROW_DATA << ((child & 3) * 2))
    copyDigest(rows, child * ROW_BYTES + 1, into, end)
    end += DIGEST_BYTES
  }
  invariant(end > at + DIGESTS_AT, 'a page has data')
  return end
}

/** Reads what `writePage` wrote; a `RangeError` says what is wrong with anything else. */
export function decodePage(page: Uint8Array): Page {
  if (page.length < DIGESTS_AT + DIGEST_BYTES || page.length > PAGE_BYTES_MAX) {
    throw new RangeError(`a page does not have ${page.length} bytes`)
  }
  const level = byteAt(page, LEVEL_AT)
  const count = byteAt(page, COUNT_AT) + 256 * byteAt(page, COUNT_AT + 1)
  if (level >= TREE_HEIGHT_MAX) throw new RangeError(`a page has no level ${level}`)
  if (count < 1 || count > PAGE_CHILDREN) throw new RangeError(`a page has no ${count} children`)
  for (const at of RESERVED_AT) {
    if (page[at] !== 0) throw new RangeError('a page has zeroes where it is reserved')
  }
  return { level, rows: decodeRows(page, count) }
}

function decodeRows(page: Uint8Array, count: number): Uint8Array {
  const rows = new Uint8Array(count * ROW_BYTES)
  let end = DIGESTS_AT
  for (let child = 0; child < PAGE_CHILDREN; child += 1) {
    const state = (byteAt(page, STATES_AT + (child >> 2)) >> ((child & 3) * 2)) & 3
    if (state === ROW_ZERO) continue
    if (state !== ROW_DATA) throw new RangeError(`child ${child} of a page has state ${state}`)
    if (child >= count) throw new RangeError('a page has states beyond its children')
    if (end + DIGEST_BYTES > page.length) throw new RangeError('a page lacks digests')
    rows[child * ROW_BYTES] = ROW_DATA
    copyDigest(page, end, rows, child * ROW_BYTES + 1)
    end += DIGEST_BYTES
  }
  if (end !== page.length) throw new RangeError('a page has bytes behind its digests')
  return rows
}

/** By hand: for so few bytes the views that `set` needs cost more than the copying. */
function copyDigest(from: Uint8Array, fromAt: number, into: Uint8Array, intoAt: number): void {
  for (let byte = 0; byte < DIGEST_BYTES; byte += 1) {
    into[intoAt + byte] = byteAt(from, fromAt + byte)
  }
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}
