import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MoverError, type MoverErrorCode } from '../core/errors.js'
import { extentEnd, type StatedExtent } from '../core/extent.js'
import { BatchedExtents } from './batched-extents.js'

/** Extents in order, from an answer at hand or one that is still arriving. */
export type StatedExtents = Iterable<StatedExtent> | AsyncIterable<StatedExtent>

/** How a stream of stated extents is held against the volume it speaks of. */
export interface CoverRules {
  readonly volumeBytes: number
  /** What an extent that nobody states is: clean, or the sign of an answer that is not whole. */
  readonly gaps: 'clean' | 'refused'
  /** Code of the error that a stream which breaks the rules ends in. */
  readonly code: MoverErrorCode
}

/**
 * Yields extents that cover the volume from its first byte to its last, in order and without gaps,
 * neighbours of one state merged. Throws `code` when `extents` overlap, go back, are empty, leave the
 * volume, or leave a gap where gaps are refused: an answer that is not whole is not an answer.
 */
export function coverVolume(
  extents: StatedExtents,
  rules: CoverRules,
  options?: AbortOptions,
): StatedExtents {
  if (isAtHand(extents)) return coverAtHand(extents, rules)
  if (!(extents instanceof BatchedExtents)) return coverArriving(extents, rules, options)
  return new BatchedExtents(() => coverBatches(extents, rules, options))
}

/**
 * Calls `visit` for each extent in order. An answer at hand, or one that comes in batches, is not awaited
 * extent by extent: a bitmap can have millions.
 */
export async function eachExtent(
  extents: StatedExtents,
  visit: (extent: StatedExtent) => void,
): Promise<void> {
  if (isAtHand(extents)) {
    for (const extent of extents) visit(extent)
  } else if (extents instanceof BatchedExtents) {
    for await (const batch of extents.batches()) for (const extent of batch) visit(extent)
  } else {
    for await (const extent of extents) visit(extent)
  }
}

/** Reads extents to their end, for the sake of the errors that may be found on the way. */
export async function drainExtents(extents: StatedExtents): Promise<void> {
  await eachExtent(extents, () => {})
}

function isAtHand(extents: StatedExtents): extents is Iterable<StatedExtent> {
  return Symbol.iterator in extents
}

function* coverAtHand(extents: Iterable<StatedExtent>, rules: CoverRules): Generator<StatedExtent> {
  const cover = new Cover(rules)
  for (const extent of extents) {
    const settled: StatedExtent[] = []
    cover.add(extent, settled)
    yield* settled
  }
  yield* cover.finish()
}

async function* coverArriving(
  extents: AsyncIterable<StatedExtent>,
  rules: CoverRules,
  options?: AbortOptions,
): AsyncGenerator<StatedExtent> {
  const cover = new Cover(rules)
  for await (const extent of extents) {
    throwIfAborted(options)
    const settled: StatedExtent[] = []
    cover.add(extent, settled)
    yield* settled
  }
  yield* cover.finish()
}

async function* coverBatches(
  extents: BatchedExtents,
  rules: CoverRules,
  options?: AbortOptions,
): AsyncGenerator<readonly StatedExtent[]> {
  const cover = new Cover(rules)
  for await (const batch of extents.batches()) {
    throwIfAborted(options)
    const settled: StatedExtent[] = []
    for (const extent of batch) cover.add(extent, settled)
    yield settled
  }
  yield cover.finish()
}

const STATES: ReadonlySet<string> = new Set(['data', 'zero', 'clean', 'unknown'])

/** The volume as far as it has been spoken of. */
class Cover {
  readonly #rules: CoverRules
  #end = 0
  /** The last extent, which the next one may go on. */
  #pending: StatedExtent | null = null

  constructor(rules: CoverRules) {
    this.#rules = rules
  }

  /** Adds to `settled` what is, now that `extent` has been said. */
  add(extent: StatedExtent, settled: StatedExtent[]): void {
    this.#check(extent)
    this.#fillTo(extent.offset, settled)
    this.#push(extent, settled)
  }

  /** Returns the rest. */
  finish(): StatedExtent[] {
    const { volumeBytes, gaps } = this.#rules
    if (this.#end < volumeBytes && gaps === 'refused') {
      throw this.#refusal(this.#end, `nothing is said of the last ${volumeBytes - this.#end} bytes`)
    }
    const settled: StatedExtent[] = []
    this.#fillTo(volumeBytes, settled)
    if (this.#pending !== null) settled.push(this.#pending)
    return settled
  }

  #fillTo(offset: number, settled: StatedExtent[]): void {
    if (offset === this.#end) return
    const gap = { offset: this.#end, length: offset - this.#end, state: 'clean' } as const
    this.#push(gap, settled)
  }

  #push(extent: StatedExtent, settled: StatedExtent[]): void {
    const pending = this.#pending
    this.#end = extentEnd(extent)
    if (pending?.state === extent.state) {
      this.#pending = { ...pending, length: pending.length + extent.length }
    } else {
      if (pending !== null) settled.push(pending)
      this.#pending = extent
    }
  }

  #check(extent: StatedExtent): void {
    const why = this.#whyRefused(extent)
    if (why !== null) throw this.#refusal(extent.offset, why)
  }

  #whyRefused({ offset, length, state }: StatedExtent): string | null {
    const { volumeBytes, gaps } = this.#rules
    const end = this.#end
    if (!Number.isSafeInteger(offset) || offset < 0) return 'its offset is not a safe integer'
    if (!Number.isSafeInteger(length) || length <= 0) return 'its length is not a positive integer'
    if (!STATES.has(state)) return `'${String(state)}' is not a state`
    if (offset < end) return `it overlaps or precedes what was said up to byte ${end}`
    if (offset > end && gaps === 'refused') return `nothing is said of the bytes from ${end} on`
    // Subtracted, because the sum of two safe integers need not be one.
    if (length <= volumeBytes - offset) return null
    return `it reaches past the end of the volume of ${volumeBytes} bytes`
  }

  #refusal(offset: number, why: string): MoverError {
    const at = Number.isSafeInteger(offset) ? offset : null
    const { code } = this.#rules
    return new MoverError(code, `extent at ${offset}: ${why}`, { stage: 'plan', offset: at })
  }
}
