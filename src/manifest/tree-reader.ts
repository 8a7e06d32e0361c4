/**
 * Reads the tree of a manifest: all slots in order, some slots, or whole subtrees to carry. The
 * pages of siblings are read together, and what is zero is never walked.
 */
import type { Geometry, SlotRun } from '../core/chunk.js'
import { digestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { PAGE_CHILDREN } from '../core/limits.js'
import type { TreeTop } from '../core/manifest.js'
import { ROW_BYTES, isZeroRow, joinZeroRuns, rowDigest, rowsOf } from '../native/slot-rows.js'
import type { SlotRows } from '../native/slot-rows.js'
import { PageCache } from './page-cache.js'
import { TreePages } from './tree-pages.js'
import type { TreeEntry, TreePagesOptions } from './tree-pages.js'
import { levelSlots } from './tree-shape.js'

/** A page that cannot be had or believed, and the slots that are lost with it. */
export interface PageDamage {
  /** Hex. */
  readonly digest: string
  readonly level: number
  readonly first: number
  readonly count: number
  readonly error: MoverError
}

export interface SlotsOptions {
  /** First slot; 0 where it is not given. */
  readonly from?: number | undefined
  /** Slot before which to stop; the end of the volume where it is not given. */
  readonly to?: number | undefined
  /** Is told of each damaged page, whose slots are then left out; without it, damage is thrown. */
  readonly onDamage?: OnDamage | undefined
}

type OnDamage = (damage: PageDamage) => void

interface Walk {
  readonly from: number
  readonly to: number
  readonly onDamage: OnDamage | null
}

/** A page whose slots are still to be walked, or a run of zero slots inside the walk. */
type WalkStep = TreeEntry | SlotRun

/** The rows of pages that were read, null of those that are damaged; and what is walked. */
interface Below {
  readonly rowsBelow: ReadonlyMap<TreeEntry, Uint8Array | null>
  readonly walk: Walk
}

interface Children {
  readonly parent: number
  readonly rows: Uint8Array
  readonly walk: Walk
}

/** Pages of one level that a walk reads together: a megabyte of them. */
const PAGES_TOGETHER = 256

/** Slots looked up at a time; the pages on the way to so many fit into the cache. */
const SLOTS_PER_LOOKUP = 1024

/** A tree to read from; several may read from it at once. */
export class TreeReader {
  readonly #pages: TreePages
  readonly #cache = new PageCache()

  constructor(options: TreePagesOptions) {
    this.#pages = new TreePages(options)
  }

  get geometry(): Geometry {
    return this.#pages.geometry
  }

  get tree(): TreeTop {
    return this.#pages.tree
  }

  get slotCount(): number {
    return this.#pages.slotCount
  }

  /**
   * Yields all slots of the range in ascending order, as batches of rows and as runs of zero.
   * PAGE_CORRUPT, or what `readPages` rejects with, at the first page that cannot be had.
   */
  async *slots({
    from = 0,
    to = this.slotCount,
    onDamage,
  }: SlotsOptions = {}): AsyncGenerator<SlotRows> {
    invariant(from >= 0 && to <= this.slotCount, 'slots lie on the volume')
    if (from >= to) return
    const walk = { from, to, onDamage: onDamage ?? null }
    const { top } = this.#pages
    const steps = isZeroRow(top.row, 0) ? [{ first: from, count: to - from }] : [top]
    yield* joinZeroRuns(this.#walk(this.tree.height, steps, walk))
  }

  /** One row for each slot of an ascending list. */
  async lookup(slots: readonly number[]): Promise<Uint8Array> {
    const found = new Uint8Array(slots.length * ROW_BYTES)
    for (let done = 0; done < slots.length; done += SLOTS_PER_LOOKUP) {
      const wanted = slots.slice(done, done + SLOTS_PER_LOOKUP)
      const rows = new Map((await this.#descend(wanted)).map(({ index, row }) => [index, row]))
      wanted.forEach((slot, position) => {
        const row = rows.get(slot)
        invariant(row !== undefined, 'every slot of the volume has a row')
        found.set(row, (done + position) * ROW_BYTES)
      })
    }
    return found
  }

  /** Reads the pages on the way to these slots, ascending, so that `entries` finds them in memory. */
  async prefetch(slots: readonly number[]): Promise<void> {
    for (let done = 0; done < slots.length; done += SLOTS_PER_LOOKUP) {
      await this.#descend(slots.slice(done, done + SLOTS_PER_LOOKUP))
    }
  }

  /** Rows, as a view, of entries that lie in one page; or of the top, which lies in none. */
  async entries(level: number, first: number, count: number): Promise<Uint8Array> {
    if (level === this.tree.height) {
      invariant(first === 0 && count === 1, 'a tree has one top')
      return this.#pages.top.row
    }
    const page = Math.floor(first / PAGE_CHILDREN)
    invariant(Math.floor((first + count - 1) / PAGE_CHILDREN) === page, 'entries lie in one page')
    return rowsOf(await this.#pageRows(level, page), first - page * PAGE_CHILDREN, count)
  }

  /** Rows of the children of each entry, for those who walk by themselves; as `TreePages`. */
  children(level: number, entries: readonly TreeEntry[]): Promise<Uint8Array[]> {
    return this.#pages.children(level, entries)
  }

  /** Yields the slots below pages of one level, which are read many at a time. */
  async *#walk(level: number, steps: readonly WalkStep[], walk: Walk): AsyncGenerator<SlotRows> {
    for (const together of stepsTogether(steps)) {
      const pages = together.filter(isPage)
      const children = await this.#childrenOrDamage(level, pages, walk.onDamage)
      const rowsBelow = new Map(pages.map((page, position) => [page, children[position] ?? null]))
      if (level > 1) {
        yield* this.#walk(level - 1, this.#stepsBelow(level, together, { rowsBelow, walk }), walk)
        continue
      }
      for (const step of together) {
        if (!isPage(step)) yield { ...step, rows: null }
        else yield* this.#leaf(step, { rowsBelow, walk })
      }
    }
  }

  *#leaf(page: TreeEntry, { rowsBelow, walk }: Below): Generator<SlotRows> {
    const rows = rowsBelow.get(page) ?? null
    if (rows === null) return
    const covered = this.#pages.slotsOf(1, page.index)
    const { first, count } = clipped(covered, walk)
    yield { first, count, rows: rowsOf(rows, first - covered.first, count) }
  }

  /** The children inside the walk, in order: pages, and the runs of zero between them. */
  #stepsBelow(level: number, steps: readonly WalkStep[], { rowsBelow, walk }: Below): WalkStep[] {
    const below: WalkStep[] = []
    for (const step of steps) {
      const rows = isPage(step) ? rowsBelow.get(step) : null
      if (!isPage(step)) below.push(step)
      else if (rows) below.push(...this.#childSteps(level - 1, { parent: step.index, rows, walk }))
    }
    return below
  }

  *#childSteps(level: number, { parent, rows, walk }: Children): Generator<WalkStep> {
    const firstChild = parent * PAGE_CHILDREN
    const count = rows.length / ROW_BYTES
    for (let child = 0; child < count;) {
      const zeroes = zeroRowsFrom(rows, child)
      const covered = this.#pages.slotsOf(level, firstChild + child)
      if (zeroes > 0) {
        const last = this.#pages.slotsOf(level, firstChild + child + zeroes - 1)
        const run = { first: covered.first, count: last.first + last.count - covered.first }
        const inside = clipped(run, walk)
        if (inside.count > 0) yield inside
      } else if (clipped(covered, walk).count > 0) {
        yield { index: firstChild + child, row: rowsOf(rows, child, 1) }
      }
      child += Math.max(zeroes, 1)
    }
  }

  /** As `children`; but null for damage that somebody is told of and that stops nothing. */
  async #childrenOrDamage(
    level: number,
    entries: readonly TreeEntry[],
    onDamage: OnDamage | null,
  ): Promise<(Uint8Array | null)[]> {
    try {
      // Kept, because who walks many short ranges comes by the same pages again.
      const children = await this.#cachedChildren(level, entries)
      return entries.map(({ index }) => children.get(index) ?? null)
    } catch (error) {
      if (onDamage === null || !mayBeDamage(error)) throw error
      if (entries.length === 1 && entries[0] !== undefined) {
        const { index, row } = entries[0]
        const digest = digestHex(rowDigest(row, 0))
        onDamage({ digest, level: level - 1, ...this.#pages.slotsOf(level, index), error })
        return [null]
      }
    }
    // Read together, they do not say which of them it was.
    const children: (Uint8Array | null)[] = []
    for (const entry of entries) {
      children.push(...(await this.#childrenOrDamage(level, [entry], onDamage)))
    }
    return children
  }

  /** The entries of level 0 for these slots: level by level, the pages of each read together. */
  async #descend(slots: readonly number[]): Promise<readonly TreeEntry[]> {
    let entries: readonly TreeEntry[] = [this.#pages.top]
    for (let level = this.tree.height; level > 0; level -= 1) {
      const span = levelSlots(level - 1)
      const wanted = new Set(slots.map(slot => Math.floor(slot / span)))
      const children = await this.#cachedChildren(level, entries)
      entries = [...wanted].map(index => {
        const rows = children.get(Math.floor(index / PAGE_CHILDREN))
        invariant(rows !== undefined, 'every page on the way was asked for')
        return { index, row: rowsOf(rows, index % PAGE_CHILDREN, 1) }
      })
    }
    return entries
  }

  /** Rows of the children by the index of their parent. */
  async #cachedChildren(
    level: number,
    entries: readonly TreeEntry[],
  ): Promise<ReadonlyMap<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>()
    for (const { index } of entries) {
      const rows = this.#cache.get(level - 1, index)
      if (rows !== undefined) found.set(index, rows)
    }
    const missing = entries.filter(({ index }) => !found.has(index))
    const read = await this.children(level, missing)
    for (const [position, rows] of read.entries()) {
      const index = missing[position]?.index
      invariant(index !== undefined, 'every answer has its question')
      this.#cache.set(level - 1, index, rows)
      found.set(index, rows)
    }
    return found
  }

  async #pageRows(level: number, index: number): Promise<Uint8Array> {
    const kept = this.#cache.get(level, index)
    if (kept !== undefined) return kept
    const row = await this.entries(level + 1, index, 1)
    const rows = (await this.#cachedChildren(level + 1, [{ index, row }])).get(index)
    invariant(rows !== undefined, 'a page has rows')
    return rows
  }
}

/** How many rows from `position` on are zero. */
function zeroRowsFrom(rows: Uint8Array, position: number): number {
  const count = rows.length / ROW_BYTES
  let end = position
  while (end < count && isZeroRow(rows, end)) end += 1
  return end - position
}

function isPage(step: WalkStep): step is TreeEntry {
  return 'row' in step
}

function clipped({ first, count }: SlotRun, { from, to }: Walk): SlotRun {
  const begin = Math.max(first, from)
  return { first: begin, count: Math.max(Math.min(first + count, to) - begin, 0) }
}

/** Cuts steps into stretches with at most so many pages in each as are read together. */
function* stepsTogether(steps: readonly WalkStep[]): Generator<readonly WalkStep[]> {
  let begin = 0
  let pages = 0
  for (const [position, step] of steps.entries()) {
    if (!isPage(step)) continue
    if (pages === PAGES_TOGETHER) {
      yield steps.slice(begin, position)
      begin = position
      pages = 0
    }
    pages += 1
  }
  if (begin < steps.length) yield steps.slice(begin)
}

function mayBeDamage(error: unknown): error is MoverError {
  return error instanceof MoverError && error.code !== 'CANCELLED'
}
