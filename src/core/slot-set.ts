import type { SlotRun } from './chunk.js'
import { invariant } from './invariant.js'
import { BLOCK_SLOTS, emptyBlock, fullBlock, type BlockRun, type SlotBlock } from './slot-block.js'

/** Stands for every block whose slots are all present; never written to. */
const FULL = fullBlock()

/**
 * A set of slot numbers below `slotCount`, in at most one bit a slot, and less where its runs are few.
 * Blocks that are empty or full take no memory, so that "all slots" and long runs cost nothing
 * whatever the size of the volume.
 */
export class SlotSet {
  readonly slotCount: number
  #size = 0
  readonly #blocks: (SlotBlock | undefined)[]

  constructor(slotCount: number) {
    invariant(Number.isSafeInteger(slotCount) && slotCount >= 0, 'a slot count is a count')
    this.slotCount = slotCount
    this.#blocks = new Array<SlotBlock | undefined>(Math.ceil(slotCount / BLOCK_SLOTS))
  }

  /** Number of slots in the set. */
  get size(): number {
    return this.#size
  }

  has(slot: number): boolean {
    return this.#blocks[Math.floor(slot / BLOCK_SLOTS)]?.has(slot % BLOCK_SLOTS) ?? false
  }

  addRun(run: SlotRun): void {
    this.#putRun(run, true)
  }

  deleteRun(run: SlotRun): void {
    this.#putRun(run, false)
  }

  /** Yields the maximal runs of present slots in ascending order. */
  *runs(): Generator<SlotRun> {
    let first = this.nextPresent(0)
    while (first < this.slotCount) {
      const end = this.nextAbsent(first)
      yield { first, count: end - first }
      first = this.nextPresent(end)
    }
  }

  /** The first present slot from `from` on; `until` (by default `slotCount`) when none lies before it. */
  nextPresent(from: number, until = this.slotCount): number {
    return this.#next({ from, until, isPresent: true })
  }

  /** The first absent slot from `from` on; `until` (by default `slotCount`) when none lies before it. */
  nextAbsent(from: number, until = this.slotCount): number {
    return this.#next({ from, until, isPresent: false })
  }

  #putRun({ first, count }: SlotRun, isPresent: boolean): void {
    const end = first + count
    invariant(first >= 0 && count >= 0 && end <= this.slotCount, 'a run lies in the set')
    let from = first
    while (from < end) {
      const index = Math.floor(from / BLOCK_SLOTS)
      const blockFirst = index * BLOCK_SLOTS
      const until = Math.min(end, blockFirst + BLOCK_SLOTS)
      const before = this.#blocks[index]?.size ?? 0
      const inBlock = { from: from - blockFirst, until: until - blockFirst, isPresent }
      this.#blocks[index] = putBlockRun(this.#blocks[index], inBlock)
      this.#size += (this.#blocks[index]?.size ?? 0) - before
      from = until
    }
  }

  #next({ from, until, isPresent }: SlotSearch): number {
    invariant(from >= 0 && until <= this.slotCount, 'a search stays in the set')
    const without = isPresent ? undefined : FULL
    let slot = from
    while (slot < until) {
      const index = Math.floor(slot / BLOCK_SLOTS)
      const blockFirst = index * BLOCK_SLOTS
      const block = this.#blocks[index]
      if (block !== without) {
        // What is not in memory is empty, and has an absent slot wherever it is asked for one.
        const found =
          block === undefined ? slot : blockFirst + block.next(slot - blockFirst, isPresent)
        if (found < blockFirst + BLOCK_SLOTS) return Math.min(found, until)
      }
      slot = blockFirst + BLOCK_SLOTS
    }
    return until
  }
}

interface SlotSearch {
  readonly from: number
  readonly until: number
  readonly isPresent: boolean
}

/** Returns the block after the change: undefined when it is empty, `FULL` when it is full. */
function putBlockRun(block: SlotBlock | undefined, run: BlockRun): SlotBlock | undefined {
  const uniform = run.isPresent ? FULL : undefined
  if (block === uniform || run.until - run.from === BLOCK_SLOTS) return uniform
  const changed = (block === undefined ? emptyBlock() : block === FULL ? fullBlock() : block).put(
    run,
  )
  if (changed.size === 0) return undefined
  return changed.size === BLOCK_SLOTS ? FULL : changed
}
