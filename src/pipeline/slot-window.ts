import type { SlotRun } from '../core/chunk.js'
import { WANTED_ROW_BYTES } from '../native/batch.js'
import { isZeroRow, rowDigest, type SlotRows } from '../native/slot-rows.js'

/** Slots of a window: 8 GiB of volume at 64 KiB a chunk, 15 MB of rows. */
export const WINDOW_SLOTS = 131_072

/** The wanted rows of a window, and its runs of zero. */
export interface TakenWindow {
  readonly wanted: Uint8Array
  readonly zeroes: readonly SlotRun[]
}

/**
 * Gathers slots to decode, data and zeroes apart, so that a window of them can be put into the
 * order of the packs. Its memory is that of `slotsMax` rows and does not grow with the volume.
 */
export class SlotWindow {
  readonly #slotsMax: number
  #rows = new Uint8Array(0)
  #count = 0
  #zeroes: { first: number; count: number }[] = []

  constructor(slotsMax: number) {
    this.#slotsMax = slotsMax
  }

  get isFull(): boolean {
    return this.#count >= this.#slotsMax || this.#zeroes.length >= this.#slotsMax
  }

  /** Adds ascending slots. */
  add({ first, count, rows }: SlotRows): void {
    if (rows === null) {
      this.#addZeroes(first, count)
      return
    }
    this.#reserve(count)
    for (let position = 0; position < count; position += 1) {
      if (isZeroRow(rows, position)) this.#addZeroes(first + position, 1)
      else this.#addData(first + position, rowDigest(rows, position))
    }
  }

  /** The wanted rows and zero runs gathered since the last time. */
  take(): TakenWindow {
    const wanted = this.#rows.slice(0, this.#count * WANTED_ROW_BYTES)
    const zeroes = this.#zeroes
    this.#count = 0
    this.#zeroes = []
    return { wanted, zeroes }
  }

  #addData(slot: number, digest: Uint8Array): void {
    const at = this.#count * WANTED_ROW_BYTES
    const view = new DataView(this.#rows.buffer, at, 8)
    view.setBigUint64(0, BigInt(slot), true)
    this.#rows.set(digest, at + 8)
    this.#count += 1
  }

  #addZeroes(first: number, count: number): void {
    const last = this.#zeroes.at(-1)
    if (last !== undefined && last.first + last.count === first) last.count += count
    else this.#zeroes.push({ first, count })
  }

  #reserve(count: number): void {
    const needed = (this.#count + count) * WANTED_ROW_BYTES
    if (needed <= this.#rows.length) return
    const grown = new Uint8Array(Math.max(needed, this.#rows.length * 2))
    grown.set(this.#rows.subarray(0, this.#count * WANTED_ROW_BYTES))
    this.#rows = grown
  }
}
