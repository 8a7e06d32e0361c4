/**
 * Which of 65,536 neighbouring slots are in a set: told by the edges of their runs where these are
 * few, else by a bit for each slot. Change that is scattered over a large volume then takes memory
 * for its runs, and not for the volume.
 */
import { invariant } from './invariant.js'

export const BLOCK_SLOTS = 65_536

/** Beyond this many edges, half as many runs, the bits take no more than twice the memory. */
const EDGES_MAX = 2048
const EDGES_ROOM_MIN = 8
const BLOCK_WORDS = BLOCK_SLOTS / 32
const ALL_ONES = 0xffff_ffff

/** Slots `from` up to, not including, `until` of a block: at least one. */
export interface BlockRun {
  readonly from: number
  readonly until: number
  readonly isPresent: boolean
}

export interface SlotBlock {
  /** Number of slots present. */
  readonly size: number
  has(slot: number): boolean
  /** The first slot from `from` on that is present, or absent; 65,536 when none is. */
  next(from: number, isPresent: boolean): number
  /** Writes a run, and returns the block that now tells the slots, which may be another one. */
  put(run: BlockRun): SlotBlock
}

/** A block of no slots. */
export function emptyBlock(): SlotBlock {
  return new EdgeBlock()
}

/** A block of all slots. */
export function fullBlock(): SlotBlock {
  return emptyBlock().put({ from: 0, until: BLOCK_SLOTS, isPresent: true })
}

/**
 * Ascending slots at which a run begins or ends, by turns; the end of the block is no edge. So a
 * slot is present when the number of edges up to it is odd.
 */
class EdgeBlock implements SlotBlock {
  #edges = new Uint16Array(EDGES_ROOM_MIN)
  #count = 0
  size = 0

  has(slot: number): boolean {
    return this.#edgesUpTo(slot) % 2 === 1
  }

  next(from: number, isPresent: boolean): number {
    if (from >= BLOCK_SLOTS) return BLOCK_SLOTS
    const edges = this.#edgesUpTo(from)
    if ((edges % 2 === 1) === isPresent) return from
    return this.#edgeAt(edges)
  }

  put({ from, until, isPresent }: BlockRun): SlotBlock {
    const first = this.#edgesUpTo(from - 1)
    const end = until === BLOCK_SLOTS ? this.#count : this.#edgesUpTo(until)
    const isPresentBefore = first % 2 === 1
    const isPresentAfter = until === BLOCK_SLOTS ? isPresent : end % 2 === 1
    const before = this.#sizeWithin(from, until, first)
    const edges = []
    if (isPresentBefore !== isPresent) edges.push(from)
    if (isPresentAfter !== isPresent) edges.push(until)
    this.#replace(first, end, edges)
    this.size += (isPresent ? until - from : 0) - before
    return this.#count > EDGES_MAX ? this.#asBits() : this
  }

  #edgeAt(index: number): number {
    return index < this.#count ? (this.#edges[index] ?? BLOCK_SLOTS) : BLOCK_SLOTS
  }

  /** How many edges lie at `slot` or before. */
  #edgesUpTo(slot: number): number {
    let low = 0
    let high = this.#count
    // Sets are mostly built from first to last.
    if (high > 0 && (this.#edges[high - 1] ?? 0) <= slot) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#edges[middle] ?? 0) <= slot) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Slots present in `from` up to `until`, of which the first edge not before `from` is `edge`. */
  #sizeWithin(from: number, until: number, edge: number): number {
    let size = 0
    let at = from
    for (let index = edge; at < until; index += 1) {
      const next = Math.min(this.#edgeAt(index), until)
      if (index % 2 === 1) size += next - at
      at = next
    }
    return size
  }

  #replace(first: number, end: number, edges: readonly number[]): void {
    const count = this.#count - (end - first) + edges.length
    if (count > this.#edges.length) {
      const larger = new Uint16Array(Math.max(count, this.#edges.length * 2))
      larger.set(this.#edges.subarray(0, this.#count))
      this.#edges = larger
    }
    // Sets are mostly built from first to last; and for one or two numbers, calls cost more than they move.
    if (end < this.#count) this.#edges.copyWithin(first + edges.length, end, this.#count)
    let at = first
    for (const edge of edges) this.#edges[at++] = edge
    this.#count = count
  }

  #asBits(): SlotBlock {
    const bits = new BitBlock()
    let from = this.next(0, true)
    while (from < BLOCK_SLOTS) {
      const until = this.next(from, false)
      bits.put({ from, until, isPresent: true })
      from = this.next(until, true)
    }
    invariant(bits.size === this.size, 'edges and bits tell the same slots')
    return bits
  }
}

/** A bit for each slot. */
class BitBlock implements SlotBlock {
  readonly #words = new Uint32Array(BLOCK_WORDS)
  size = 0

  has(slot: number): boolean {
    return ((this.#words[slot >>> 5] ?? 0) & (1 << (slot & 31))) !== 0
  }

  next(from: number, isPresent: boolean): number {
    const inverted = isPresent ? 0 : ALL_ONES
    let word = from >>> 5
    let bits = ((this.#words[word] ?? 0) ^ inverted) & (ALL_ONES << (from & 31))
    while (bits === 0) {
      word += 1
      if (word >= BLOCK_WORDS) return BLOCK_SLOTS
      bits = (this.#words[word] ?? 0) ^ inverted
    }
    return word * 32 + 31 - Math.clz32(bits & -bits)
  }

  put({ from, until, isPresent }: BlockRun): SlotBlock {
    for (let word = from >>> 5; word <= (until - 1) >>> 5; word += 1) {
      const before = this.#words[word] ?? 0
      const mask = wordMask(Math.max(from - word * 32, 0), Math.min(until - word * 32, 32))
      const after = isPresent ? before | mask : before & ~mask
      this.#words[word] = after
      this.size += onesIn(after) - onesIn(before)
    }
    return this
  }
}

/** Ones in the bits `from` up to, not including, `until` of a word; there is at least one. */
function wordMask(from: number, until: number): number {
  return (ALL_ONES << from) & (ALL_ONES >>> (32 - until))
}

/** Counts the ones of a 32-bit word. */
function onesIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555)
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333)
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
