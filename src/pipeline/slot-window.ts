import type { SlotRun } from '../core/chunk.js'
import { WANTED_ROW_BYTES } from '../native/batch.js'
import { isZeroRow, rowDigest, type SlotRows } from '../native/slot-rows.js'

/** Slots of a window: 4 GiB of volume at 64 KiB a chunk. */
export const WINDOW_SLOTS = 65_536

/** Of the first window: work begins with it, while the second one is gathered. */
const FIRST_WINDOW_SLOTS = 8192

/** The wanted rows of a window, the runs that they are, and its runs of zero. */
export interface TakenWindow {
  readonly wanted: Uint8Array
  readonly data: readonly SlotRun[]
  readonly zeroes: readonly SlotRun[]
}

/**
 * Gathers slots to decode, data and zeroes apart, so that a window of them can be put into the
 * order of the packs. Its memory is that of `slotsMax` rows and does not grow with the volume.
 */
export class SlotWindow {
  readonly slotsMax: number
  #rows = new Uint8Array(0)
  #count = 0
  #data: MutableRun[] = []
  #zeroes: MutableRun[] = []

  constructor(slotsMax: number) {
    this.slotsMax = slotsMax
  }

  get isFull(): boolean {
    return this.#count >= this.slotsMax || this.#zeroes.length >= this.slotsMax
  }

  /** Adds ascending slots. */
  add({ first, count, rows }: SlotRows): void {
    if (rows === null) {
      addRun(this.#zeroes, first, count)
      return
    }
    this.#reserve(count)
    for (let position = 0; position < count; position += 1) {
      if (isZeroRow(rows, position)) addRun(this.#zeroes, first + position, 1)
      else this.#addData(first + position, rowDigest(rows, position))
    }
  }

  /** The wanted rows and zero runs gathered since the last time. */
  take(): TakenWindow {
    const wanted = this.#rows.slice(0, this.#count * WANTED_ROW_BYTES)
    const [data, zeroes] = [this.#data, this.#zeroes]
    this.#count = 0
    this.#data = []
    this.#zeroes = []
    return { wanted, data, zeroes }
  }

  #addData(slot: number, digest: Uint8Array): void {
    const at = this.#count * WANTED_ROW_BYTES
    const view = new DataView(this.#rows.buffer, at, 8)
    view.setBigUint64(0, BigInt(slot), true)
    this.#rows.set(digest, at + 8)
    this.#count += 1
    addRun(this.#data, slot, 1)
  }

  #reserve(count: number): void {
    const needed = (this.#count + count) * WANTED_ROW_BYTES
    if (needed <= this.#rows.length) return
    const grown = new Uint8Array(Math.max(needed, this.#rows.length * 2))
    grown.set(this.#rows.subarray(0, this.#count * WANTED_ROW_BYTES))
    this.#rows = grown
  }
}

/** What is done with each window, and how all of it is made to end before its time. */
export interface WindowWork {
  readonly work: (window: TakenWindow) => Promise<void>
  readonly stop: () => void
}

/**
 * Gives windows of at most `slotsMax` slots to `work`. Two are worked on at a time, so that one is planned
 * while the other is decoded, and the next is gathered meanwhile. At the first failure, which is thrown,
 * `stop` is called: what is under way then has to end soon.
 */
export async function eachWindow(
  slots: AsyncIterable<SlotRows>,
  slotsMax: number,
  { work, stop }: WindowWork,
): Promise<void> {
  let window = new SlotWindow(Math.min(FIRST_WINDOW_SLOTS, slotsMax))
  const failures: unknown[] = []
  const failed = (error: unknown): never => {
    failures.push(error)
    stop()
    throw failures[0]
  }
  let [older, newer] = [Promise.resolve(), Promise.resolve()]
  const next = async () => {
    await older
    ;[older, newer] = [newer, work(window.take()).catch(failed)]
    // Awaited in its turn; a failure until then is not unhandled.
    newer.catch(() => {})
  }
  try {
    for await (const run of slots) {
      window.add(run)
      if (!window.isFull) continue
      await next()
      if (window.slotsMax < slotsMax) window = new SlotWindow(slotsMax)
    }
    await next()
    await older
    await newer
  } catch (error) {
    failed(error)
  } finally {
    await Promise.allSettled([older, newer])
  }
}

interface MutableRun {
  first: number
  count: number
}

function addRun(runs: MutableRun[], first: number, count: number): void {
  const last = runs.at(-1)
  if (last !== undefined && last.first + last.count === first) last.count += count
  else runs.push({ first, count })
}
