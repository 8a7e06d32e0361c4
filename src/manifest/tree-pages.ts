/**
 * The pages of one manifest's tree. Whoever reads a page compares it with its digest, and here it is
 * compared with its place in the tree, before anything in it is believed. Pages are asked for many at a time, since each is a
 * read of its own.
 */
import { slotCount } from '../core/chunk.js'
import type { Geometry, SlotRun } from '../core/chunk.js'
import { digestHex, parseDigestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { PAGE_CHILDREN } from '../core/limits.js'
import type { TreeTop } from '../core/manifest.js'
import { ROW_BYTES, dataRow, isZeroRow, rowDigest, rowsOf } from '../native/slot-rows.js'
import { decodePage } from './page-codec.js'
import type { Page } from './page-codec.js'
import { entryCount, entrySlots, levelSlots, treeTopProblem } from './tree-shape.js'

/**
 * Answers the pages of these digests, in order: bytes that have the digest, or null where there are only
 * others. Rejects if any of them cannot be had.
 */
export type ReadPages = (digests: readonly Uint8Array[]) => Promise<readonly (Uint8Array | null)[]>

export interface TreePagesOptions {
  readonly geometry: Geometry
  readonly tree: TreeTop
  readonly readPages: ReadPages
}

/** An entry of a level: the top, a page's child, or a slot; `index` counts within the level. */
export interface TreeEntry {
  readonly index: number
  readonly row: Uint8Array
}

const PAGES_PER_READ = 1024

const NOT_READ_YET = new Uint8Array(0)

/** Reads pages as the children of entries; keeps nothing. */
export class TreePages {
  readonly geometry: Geometry
  readonly tree: TreeTop
  readonly slotCount: number
  readonly #readPages: TreePagesOptions['readPages']

  constructor({ geometry, tree, readPages }: TreePagesOptions) {
    const problem = treeTopProblem(geometry, tree)
    invariant(problem === null, `a tree was checked when its manifest was read: ${problem}`)
    this.geometry = geometry
    this.tree = tree
    this.slotCount = slotCount(geometry)
    this.#readPages = readPages
  }

  /** The one entry of level `height`. */
  get top(): TreeEntry {
    const { top } = this.tree
    const row = top === null ? new Uint8Array(ROW_BYTES) : dataRow(parseDigestHex(top))
    return { index: 0, row }
  }

  /**
   * Rows of the children of each entry: read where it is a page, zeroes where it is zero. Rejects
   * with PAGE_CORRUPT, or as `readPages` does, if one of them cannot be had.
   */
  async children(level: number, entries: readonly TreeEntry[]): Promise<Uint8Array[]> {
    const children: Uint8Array[] = entries.map(({ index, row }) => {
      return isZeroRow(row, 0) ? this.#zeroRows(level, index) : NOT_READ_YET
    })
    const pages = [...entries.entries()].filter(([, { row }]) => !isZeroRow(row, 0))
    for (let done = 0; done < pages.length; done += PAGES_PER_READ) {
      const batch = pages.slice(done, done + PAGES_PER_READ)
      const bytes = await this.#readPages(batch.map(([, { row }]) => rowDigest(row, 0)))
      batch.forEach(([position, entry], index) => {
        children[position] = this.#checkedRows(level, entry, bytes[index] ?? null)
      })
    }
    return children
  }

  /** The slots that an entry covers. */
  slotsOf(level: number, index: number): SlotRun {
    const first = index * levelSlots(level)
    return { first, count: entrySlots(this.slotCount, level, index) }
  }

  #zeroRows(level: number, index: number): Uint8Array {
    return new Uint8Array(this.#childCount(level, index) * ROW_BYTES)
  }

  #childCount(level: number, index: number): number {
    const entries = entryCount(this.slotCount, level - 1)
    return Math.min(PAGE_CHILDREN, entries - index * PAGE_CHILDREN)
  }

  #checkedRows(level: number, entry: TreeEntry, bytes: Uint8Array | null): Uint8Array {
    const { index, row } = entry
    const digest = rowDigest(row, 0)
    try {
      if (bytes === null) throw new RangeError('no copy of it has this digest')
      const page = decodePage(bytes)
      this.#checkPlace(page, level, index)
      return page.rows
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause
      const { first, count } = this.slotsOf(level, index)
      const message = `tree page ${digestHex(digest)} is damaged: ${cause.message}`
      throw new MoverError('PAGE_CORRUPT', message, {
        offset: first * this.geometry.chunkBytes,
        remedy: 'mover verify names everything that is damaged',
        details: { page: digestHex(digest), level: level - 1, firstSlot: first, slots: count },
        cause,
      })
    }
  }

  #checkPlace({ level, rows }: Page, parentLevel: number, index: number): void {
    const count = rows.length / ROW_BYTES
    const wanted = this.#childCount(parentLevel, index)
    if (level !== parentLevel - 1) {
      throw new RangeError(`it is of level ${level} at a place of level ${parentLevel - 1}`)
    }
    if (count !== wanted) throw new RangeError(`it has ${count} children in place of ${wanted}`)
  }
}

/** The children of entry `parent` as entries of their level. */
export function entriesOf(parent: number, rows: Uint8Array): TreeEntry[] {
  return Array.from({ length: rows.length / ROW_BYTES }, (_, child) => {
    return { index: parent * PAGE_CHILDREN + child, row: rowsOf(rows, child, 1) }
  })
}
