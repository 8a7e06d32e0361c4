import { TREE_HEIGHT_MAX } from '../core/limits.js'

/** Keeps the rows of the pages that were used last: at most 4,096 of them, 17 MB. */
export class PageCache {
  readonly #pages = new Map<number, Uint8Array>()

  /** The rows of a page, if they are kept. */
  get(level: number, index: number): Uint8Array | undefined {
    const key = keyOf(level, index)
    const rows = this.#pages.get(key)
    if (rows === undefined) return undefined
    // A Map remembers the order of insertion: the oldest is the one that was not used for longest.
    this.#pages.delete(key)
    this.#pages.set(key, rows)
    return rows
  }

  /** Keeps the rows of a page, in place of those not used for longest. */
  set(level: number, index: number, rows: Uint8Array): void {
    this.#pages.set(keyOf(level, index), rows)
    if (this.#pages.size <= PAGES_MAX) return
    for (const oldest of this.#pages.keys()) {
      this.#pages.delete(oldest)
      return
    }
  }
}

const PAGES_MAX = 4096

/** A number, because it is asked for more often than anything else of a scattered incremental. */
function keyOf(level: number, index: number): number {
  return index * TREE_HEIGHT_MAX + level
}
