import type { SlotRun } from './chunk.js'
import { invariant } from './invariant.js'

const BLOCK_SLOTS = 65_536
const BLOCK_WORDS = BLOCK_SLOTS / 32
const ALL_ONES = 0xffff_ffff

/** The bits of 65,536 slots, and how many of them are set. */
interface Block {
  readonly words: Uint32Array
  size: number
}

/** Stands for every block whose slots are all present; never written to. */
const FULL: Block = { words: new Uint32Array(BLOCK_WORDS).fill(ALL_ONES), size: BLOCK_SLOTS }

/**
 * A set of slot numbers below `slotCount`, in at most one bit a slot. Blocks that are empty or full
 * take no memory, so that "all slots" and long runs cost nothing whatever the size of the volume.
 */
export class SlotSet {
  readonly slotCount: number
  #size = 0
  readonly #blocks: (Block | undefined)[]

  constructor(slotCount: number) {
    invariant(Number.isSafeInteger(slotCount) && slotCount >= 0, 'a slot count is a count')
    this.slotCount = slotCount
    this.#blocks = new Array<Block | undefined>(Math.ceil(slotCount / BLOCK_SLOTS))
  }

  /** Number of slots in the set. */
  get size(): number {
    return this.#size
  }

  has(slot: number): boolean {
    const block = this.#blocks[Math.floor(slot / BLOCK_SLOTS)]
    if (block === undefined) return false
    const bit = slot % BLOCK_SLOTS
    return ((block.words[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0
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
    return this.#next({ from, until, inverted: 0 })
  }

  /** The first absent slot from `from` on; `until` (by default `slotCount`) when none lies before it. */
  nextAbsent(from: number, until = this.slotCount): number {
    return this.#next({ from, until, inverted: ALL_ONES })
  }

  #putRun({ first, count }: SlotRun, present: boolean): void {
    const end = first + count
    invariant(first >= 0 && count >= 0 && end <= this.slotCount, 'a run lies in the set')
    let from = first
    while (from < end) {
      const index = Math.floor(from / BLOCK_SLOTS)
      const blockFirst = index * BLOCK_SLOTS
      const until = Math.min(end, blockFirst + BLOCK_SLOTS)
      const before = this.#blocks[index]?.size ?? 0
      const inBlock = { from: from - blockFirst, until: until - blockFirst, present }
      this.#blocks[index] = putBits(this.#blocks[index], inBlock)
      this.#size += (this.#blocks[index]?.size ?? 0) - before
      from = until
    }
  }

  /** The first slot whose word, once XORed with `inverted`, has its bit set. */
  #next({ from, until, inverted }: SlotSearch): number {
    invariant(from >= 0 && until <= this.slotCount, 'a search stays in the set')
    const uniform = inverted === 0 ? undefined : FULL
    let slot = from
    while (slot < until) {
      const index = Math.floor(slot / BLOCK_SLOTS)
      const blockFirst = index * BLOCK_SLOTS
      const block = this.#blocks[index]
      if (block !== uniform) {
        const bit = nextBit(block?.words, { from: slot - blockFirst, inverted })
        if (bit < BLOCK_SLOTS) return Math.min(blockFirst + bit, until)
      }
      slot = blockFirst + BLOCK_SLOTS
    }
    return until
  }
}

interface SlotSearch {
  readonly from: number
  readonly until: number
  readonly inverted: number
}

interface BitRun {
  readonly from: number
  readonly until: number
  readonly present: boolean
}

/** Returns the block after the change: undefined when it is empty, `FULL` when it is full. */
function putBits(block: Block | undefined, { from, until, present }: BitRun): Block | undefined {
  const uniform = present ? FULL : undefined
  if (block === uniform || until - from === BLOCK_SLOTS) return uniform
  const words = writableWords(block)
  let size = block?.size ?? 0
  for (let word = from >>> 5; word <= (until - 1) >>> 5; word += 1) {
    const before = words[word] ?? 0
    const mask = wordMask(Math.max(from - word * 32, 0), Math.min(until - word * 32, 32))
    const after = present ? before | mask : before & ~mask
    words[word] = after
    size += onesIn(after) - onesIn(before)
  }
  if (size === 0) return undefined
  return size === BLOCK_SLOTS ? FULL : { words, size }
}

function writableWords(block: Block | undefined): Uint32Array {
  if (block === undefined) return new Uint32Array(BLOCK_WORDS)
  return block === FULL ? FULL.words.slice() : block.words
}

/** Ones in the bits `from` up to, not including, `until` of a word; there is at least one. */
function wordMask(from: number, until: number): number {
  return (ALL_ONES << from) & (ALL_ONES >>> (32 - until))
}

interface BitSearch {
  readonly from: number
  readonly inverted: number
}

/** The first bit from `from` on that is set in words ^ inverted; `BLOCK_SLOTS` when none is. */
function nextBit(words: Uint32Array | undefined, { from, inverted }: BitSearch): number {
  if (words === undefined) return inverted === 0 ? BLOCK_SLOTS : from
  let word = from >>> 5
  let bits = ((words[word] ?? 0) ^ inverted) & (ALL_ONES << (from & 31))
  while (bits === 0) {
    word += 1
    if (word === BLOCK_WORDS) return BLOCK_SLOTS
    bits = (words[word] ?? 0) ^ inverted
  }
  return word * 32 + 31 - Math.clz32(bits & -bits)
}

/** Counts the ones of a 32-bit word. */
function onesIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555)
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
