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

invariant(PAGE_CHILDREN * 2 === STATES_BYTES * 8, 'a page has two bits of state a child')

/** Bytes of the largest page. */
export const PAGE_BYTES_MAX = DIGESTS_AT + PAGE_CHILDREN * DIGEST_BYTES

/** A node of the tree: the children of level 0 are slots, those of level n pages of level n - 1. */
export interface Page {
  readonly level: number
  /** 1 to 128 rows of 33 bytes, at least one of them data. */
  readonly rows: Uint8Array
}

/** Writes a page. A page whose children are all zero does not exist. */
export function encodePage({ level, rows }: Page): Uint8Array {
  const count = rows.length / ROW_BYTES
  invariant(Number.isInteger(count) && count >= 1 && count <= PAGE_CHILDREN, 'a page has children')
  invariant(level >= 0 && level < TREE_HEIGHT_MAX, 'a page is in the tree')
  const from = bufferOf(rows)
  const page = Buffer.alloc(PAGE_BYTES_MAX)
  page.writeUInt8(level, LEVEL_AT)
  page.writeUInt16LE(count, COUNT_AT)
  let end = DIGESTS_AT
  for (let child = 0; child < count; child += 1) {
    if (isZeroRow(rows, child)) continue
    const at = STATES_AT + (child >> 2)
    page[at] = (page[at] ?? 0) | (ROW_DATA << ((child & 3) * 2))
    end += from.copy(page, end, child * ROW_BYTES + 1, (child + 1) * ROW_BYTES)
  }
  invariant(end > DIGESTS_AT, 'a page has data')
  return page.subarray(0, end)
}

/** Reads what `encodePage` wrote; a `RangeError` says what is wrong with anything else. */
export function decodePage(bytes: Uint8Array): Page {
  if (bytes.length < DIGESTS_AT + DIGEST_BYTES || bytes.length > PAGE_BYTES_MAX) {
    throw new RangeError(`a page does not have ${bytes.length} bytes`)
  }
  const page = bufferOf(bytes)
  const level = page.readUInt8(LEVEL_AT)
  const count = page.readUInt16LE(COUNT_AT)
  if (level >= TREE_HEIGHT_MAX) throw new RangeError(`a page has no level ${level}`)
  if (count < 1 || count > PAGE_CHILDREN) throw new RangeError(`a page has no ${count} children`)
  if (page.readUInt8(LEVEL_AT + 1) !== 0 || page.readUInt32LE(COUNT_AT + 2) !== 0) {
    throw new RangeError('a page has zeroes where it is reserved')
  }
  return { level, rows: decodeRows(page, count) }
}

function decodeRows(page: Buffer, count: number): Uint8Array {
  const rows = new Uint8Array(count * ROW_BYTES)
  let end = DIGESTS_AT
  for (let child = 0; child < PAGE_CHILDREN; child += 1) {
    const state = (page.readUInt8(STATES_AT + (child >> 2)) >> ((child & 3) * 2)) & 3
    if (state === ROW_ZERO) continue
    if (state !== ROW_DATA) throw new RangeError(`child ${child} of a page has state ${state}`)
    if (child >= count) throw new RangeError('a page has states beyond its children')
    if (end + DIGEST_BYTES > page.length) throw new RangeError('a page lacks digests')
    rows[child * ROW_BYTES] = ROW_DATA
    end += page.copy(rows, child * ROW_BYTES + 1, end, end + DIGEST_BYTES)
  }
  if (end !== page.length) throw new RangeError('a page has bytes behind its digests')
  return rows
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
