/**
 * Grows the tree of a manifest from slots that come in ascending order. The tree is canonical: the
 * same size and content give the same root, whatever was read, carried or known to be zero.
 *
 * Each page is written when its last child is there, so memory does not grow with the volume. A
 * run that is zero or carried costs a few entries however long it is: whole subtrees are appended
 * at the highest level that they fit.
 */
import { slotCount, slotRunBytes } from '../core/chunk.js'
import type { Geometry, SlotRun } from '../core/chunk.js'
import { digestHex } from '../core/digest.js'
import { invariant } from '../core/invariant.js'
import { PAGE_CHILDREN } from '../core/limits.js'
import type { TreeTop } from '../core/manifest.js'
import { ROW_BYTES, ROW_DATA, isZeroRow, rowDigest, rowsOf } from '../native/slot-rows.js'
import { OpenPage } from './open-page.js'
import { PageBatch, type PagesTogether } from './page-batch.js'
import type { TreeReader } from './tree-reader.js'
import { entrySlots, levelSlots, treeHeight, treeRoot } from './tree-shape.js'

/** Takes pages and answers their digests, in order and one behind the other; it may know some already. */
export interface PageStore {
  /** The bytes are taken before it returns, and may be used for something else then. */
  putPages(pages: PagesTogether): Promise<Uint8Array>
}

export interface TreeWriterOptions {
  readonly geometry: Geometry
  readonly store: PageStore
  /** The tree that slots are carried from; null where none are. */
  readonly parent: TreeReader | null
}

/** The top of a finished tree, and its root digest in hex. */
export interface FinishedTree extends TreeTop {
  readonly root: string
}

/** Steps that wait together, so that the parent's pages for all of them are read at once. */
const STEPS_WAITING_MAX = 1024
const STEP_BYTES_WAITING_MAX = 4 * 1024 * 1024

const ZERO_ROW = new Uint8Array(ROW_BYTES)

interface Step extends SlotRun {
  readonly action: 'put' | 'zero' | 'carry'
  readonly rows: Uint8Array
}

/** Steps are taken in order and without gaps from slot 0; each call is awaited before the next. */
export class TreeWriter {
  readonly #geometry: Geometry
  readonly #slots: number
  readonly #height: number
  readonly #store: PageStore
  readonly #parent: TreeReader | null
  readonly #levels: OpenPage[]
  readonly #pages = new PageBatch()
  #top: Uint8Array = ZERO_ROW
  #next = 0
  #waiting: Step[] = []
  #waitingBytes = 0
  #storing: Promise<void> = Promise.resolve()

  constructor({ geometry, store, parent }: TreeWriterOptions) {
    invariant(
      parent === null || parent.geometry.chunkBytes === geometry.chunkBytes,
      'slots are carried between volumes of one chunk size',
    )
    this.#geometry = geometry
    this.#slots = slotCount(geometry)
    this.#height = treeHeight(this.#slots)
    this.#store = store
    this.#parent = parent
    this.#levels = Array.from({ length: this.#height }, () => new OpenPage())
  }

  /** Appends slots with a row each of 33 bytes, state and digest; any state but 0 is data. */
  async putSlots(first: number, count: number, rows: Uint8Array): Promise<void> {
    invariant(rows.length === count * ROW_BYTES, 'every slot has a row')
    await this.#take({ action: 'put', first, count, rows })
  }

  /** Appends slots that are zero. */
  async zeroSlots(first: number, count: number): Promise<void> {
    await this.#take({ action: 'zero', first, count, rows: ZERO_ROW })
  }

  /** Appends slots that are as in the parent. */
  async carrySlots(first: number, count: number): Promise<void> {
    const { geometry } = this.#parentTree()
    const run = { first, count }
    const isSame = slotRunBytes(this.#geometry, run) === slotRunBytes(geometry, run)
    invariant(isSame, 'carried slots are as long as in the parent')
    await this.#take({ action: 'carry', first, count, rows: ZERO_ROW })
  }

  /** Closes the tree after the last slot; every page has been stored when this resolves. */
  async finish(): Promise<FinishedTree> {
    invariant(this.#next === this.#slots, 'every slot is accounted for')
    await this.#applyWaiting()
    this.#levels.forEach((page, level) => {
      if (page.count > 0) this.#close(level)
    })
    await this.#storePages()
    await this.#storing
    const isZero = isZeroRow(this.#top, 0)
    const tree = {
      height: this.#height,
      state: isZero ? ('zero' as const) : ('page' as const),
      top: isZero ? null : digestHex(rowDigest(this.#top, 0)),
    }
    return { ...tree, root: treeRoot(this.#geometry, tree) }
  }

  async #take(step: Step): Promise<void> {
    invariant(step.first === this.#next && step.count >= 0, 'slots come in order, without gaps')
    invariant(step.count <= this.#slots - step.first, 'slots lie on the volume')
    this.#next += step.count
    if (this.#parent === null) return this.#apply(step)

    // The caller may use its rows for something else by the time they are looked at.
    const rows = step.rows === ZERO_ROW ? ZERO_ROW : new Uint8Array(step.rows)
    this.#waiting.push({ ...step, rows })
    this.#waitingBytes += step.rows.length
    const isFull =
      this.#waiting.length >= STEPS_WAITING_MAX || this.#waitingBytes >= STEP_BYTES_WAITING_MAX
    if (isFull) await this.#applyWaiting()
  }

  async #applyWaiting(): Promise<void> {
    const steps = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    const carried = steps.filter(({ action, count }) => action === 'carry' && count > 0)
    const edges = carried.flatMap(({ first, count }) => [first, first + count - 1])
    // Between its edges a carried run is made of whole subtrees, below which nothing is read.
    if (edges.length > 0) await this.#parentTree().prefetch(edges)
    for (const step of steps) await this.#apply(step)
  }

  async #apply({ action, first, count, rows }: Step): Promise<void> {
    const end = first + count
    if (action === 'put') await this.#put(rows, count)
    else if (action === 'zero') await this.#zeroes(first, end)
    else for (let at = first; at < end;) at = await this.#carry(at, end)
  }

  async #put(rows: Uint8Array, count: number): Promise<void> {
    for (let done = 0; done < count; done += PAGE_CHILDREN) {
      this.#append(0, rowsOf(rows, done, Math.min(PAGE_CHILDREN, count - done)))
      if (this.#pages.isFull) await this.#storePages()
    }
  }

  async #zeroes(first: number, end: number): Promise<void> {
    for (let at = first; at < end;) at = this.#zero(at, end)
    if (this.#pages.isFull) await this.#storePages()
  }

  #zero(first: number, end: number): number {
    let level = this.#height
    while (!this.#fits(level, first, end)) level -= 1
    this.#append(level, ZERO_ROW)
    return first + entrySlots(this.#slots, level, first / levelSlots(level))
  }

  /** Copies the parent's entries of the highest level that fits, up to the end of their page. */
  async #carry(first: number, end: number): Promise<number> {
    const parent = this.#parentTree()
    let level = Math.min(this.#height, parent.tree.height)
    while (!this.#fits(level, first, end) || !this.#isShared(level, first, parent)) level -= 1
    const entry = first / levelSlots(level)
    const count = this.#fitting(level, entry, end)
    this.#append(level, await parent.entries(level, entry, count))
    if (this.#pages.isFull) await this.#storePages()
    return Math.min((entry + count) * levelSlots(level), this.#slots)
  }

  /** Entries of a level that fit from `entry`, which does, up to the end of its page. */
  #fitting(level: number, entry: number, end: number): number {
    const span = levelSlots(level)
    const pageEnd = (Math.floor(entry / PAGE_CHILDREN) + 1) * PAGE_CHILDREN
    const whole = Math.min(Math.floor(end / span), pageEnd)
    if (whole === pageEnd || whole * span >= end) return whole - entry
    // The last entry of a volume may be cut, and then fits where the parent is cut as well.
    const fits = this.#fits(level, whole * span, end)
    return whole - entry + (fits && this.#isShared(level, whole * span, this.#parentTree()) ? 1 : 0)
  }

  /** Whether an entry of `level` begins at slot `first` and ends within `end`. */
  #fits(level: number, first: number, end: number): boolean {
    const span = levelSlots(level)
    return first % span === 0 && first + entrySlots(this.#slots, level, first / span) <= end
  }

  /** Whether the entry covers the same slots in the parent: at its end, the parent's may be cut. */
  #isShared(level: number, first: number, parent: TreeReader): boolean {
    const entry = first / levelSlots(level)
    return entrySlots(this.#slots, level, entry) === entrySlots(parent.slotCount, level, entry)
  }

  #append(level: number, rows: Uint8Array): void {
    const page = this.#levels[level]
    if (page === undefined) {
      invariant(level === this.#height, 'an entry is in the tree')
      this.#top = Uint8Array.from(rows)
      return
    }
    const count = rows.length / ROW_BYTES
    const room = Math.min(count, PAGE_CHILDREN - page.count)
    page.add(rowsOf(rows, 0, room))
    if (page.count === PAGE_CHILDREN) this.#close(level)
    if (room < count) this.#append(level, rowsOf(rows, room, count - room))
  }

  #close(level: number): void {
    // Its children are pages of this batch, or of one before it.
    if (level > 0) this.#pages.name()
    const rows = this.#levels[level]?.take() ?? null
    if (rows === null) return this.#append(level + 1, ZERO_ROW)
    const above = this.#levels[level + 1]
    this.#pages.add({ level, rows }, above?.addPage() ?? this.#addTop())
    if (above?.count === PAGE_CHILDREN) this.#close(level + 1)
  }

  #addTop(): Uint8Array {
    this.#top = new Uint8Array(ROW_BYTES)
    this.#top[0] = ROW_DATA
    return rowDigest(this.#top, 0)
  }

  /** Hands the pages over; one batch is under way while the next one is made. */
  async #storePages(): Promise<void> {
    await this.#storing
    if (this.#pages.isEmpty) return
    const { digests, ...pages } = this.#pages.take()
    this.#storing = this.#store.putPages(pages).then(stored => {
      invariant(Buffer.compare(digests, stored) === 0, 'pages are stored under the names they have')
    })
    // Awaited by the next batch or by `finish`; a failure until then is not unhandled.
    this.#storing.catch(() => {})
  }

  #parentTree(): TreeReader {
    invariant(this.#parent !== null, 'slots are carried from a parent')
    return this.#parent
  }
}
