import { PAGE_CHILDREN } from '../core/limits.js'
import { ROW_BYTES, ROW_DATA, isZeroRow, rowsOf } from '../native/slot-rows.js'

/** The page of one level that is being filled. */
export class OpenPage {
  readonly #rows = new Uint8Array(PAGE_CHILDREN * ROW_BYTES)
  #hasData = false
  #count = 0

  /** Children so far; a full page has 128. */
  get count(): number {
    return this.#count
  }

  /** Adds children, for which there must be room. */
  add(rows: Uint8Array): void {
    const count = rows.length / ROW_BYTES
    this.#rows.set(rows, this.#count * ROW_BYTES)
    for (let child = this.#count; child < this.#count + count; child += 1) {
      if (isZeroRow(this.#rows, child)) continue
      this.#rows[child * ROW_BYTES] = ROW_DATA
      this.#hasData = true
    }
    this.#count += count
  }

  /** Adds a child that is a page; where its digest goes, before this page is taken. */
  addPage(): Uint8Array {
    const at = this.#count * ROW_BYTES
    this.#rows[at] = ROW_DATA
    this.#hasData = true
    this.#count += 1
    return this.#rows.subarray(at + 1, at + ROW_BYTES)
  }

  /** Empties the page and answers its rows, as a view; null if all of them are zero. */
  take(): Uint8Array | null {
    const rows = this.#hasData ? rowsOf(this.#rows, 0, this.#count) : null
    this.#count = 0
    this.#hasData = false
    return rows
  }
}
