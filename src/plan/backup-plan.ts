import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import {
  slotCount,
  slotRunBytes,
  slotRunInside,
  slotRunOf,
  type Geometry,
  type SlotRun,
} from '../core/chunk.js'
import type { Extent } from '../core/extent.js'
import { invariant } from '../core/invariant.js'
import type { BackupMode } from '../core/manifest.js'
import { SlotSet } from '../core/slot-set.js'
import { coverVolume, eachExtent, type StatedExtents } from '../cbt/change-map.js'

/** What a plan is made from. */
export interface BackupQuestion {
  readonly geometry: Geometry
  readonly mode: BackupMode
  /** What changed since the parent, gap-free; null where the mode reads everything. */
  readonly changes: StatedExtents | null
  /** Asks the source for its holes in what is to be read; null where it does not vouch for any. */
  readonly allocated: (within: Iterable<Extent>) => StatedExtents | null
  /** Reads holes like everything else. */
  readonly readHoles: boolean
}

/** What is done with a slot: read, known to be zero without reading, or taken over from the parent. */
export type SlotAction = 'read' | 'zero' | 'carry'

/** A run of slots with which the same is done. */
export interface PlannedRun extends SlotRun {
  readonly action: SlotAction
}

/**
 * Decides for every slot whether it is read. Clean slots are carried, and slots that lie wholly in
 * holes of the source are zero; a slot of which any byte is changed, or unknown, is read. Throws
 * CHANGES_MALFORMED and SOURCE_FAILED for maps that do not cover the volume.
 */
export async function planBackup(
  question: BackupQuestion,
  options?: AbortOptions,
): Promise<BackupPlan> {
  throwIfAborted(options)
  const { geometry, mode, changes, allocated, readHoles } = question
  const { volumeBytes } = geometry
  const readSlots = new SlotSet(slotCount(geometry))
  if (mode === 'full' || mode === 'rescan') {
    // Even a map that is at hand is not looked at: the mode says that it is not believed.
    readSlots.addRun({ first: 0, count: readSlots.slotCount })
  } else {
    invariant(changes !== null, 'an incremental knows what changed')
    const rules = { volumeBytes, gaps: 'refused', code: 'CHANGES_MALFORMED' } as const
    await eachExtent(coverVolume(changes, rules, options), extent => {
      // Zero is changed as much as data is, and that it is zero is only hearsay.
      if (extent.state !== 'clean') readSlots.addRun(slotRunOf(geometry, extent))
    })
  }

  const zeroSlots = new SlotSet(readSlots.slotCount)
  // Only there, so that it costs what has changed, and not what the volume is made of.
  const holes = readHoles ? null : allocated(extentsOf(readSlots.runs(), geometry))
  if (holes !== null) {
    const rules = { volumeBytes, gaps: 'clean', code: 'SOURCE_FAILED' } as const
    await eachExtent(coverVolume(holes, rules, options), extent => {
      if (extent.state !== 'zero') return
      moveRun(slotRunInside(geometry, extent), { from: readSlots, to: zeroSlots })
    })
  }
  return new BackupPlan({ geometry, mode, readSlots, zeroSlots })
}

function* extentsOf(runs: Iterable<SlotRun>, geometry: Geometry): Generator<Extent> {
  for (const run of runs) {
    yield { offset: run.first * geometry.chunkBytes, length: slotRunBytes(geometry, run) }
  }
}

/** Moves those slots of `run` that `from` has to `to`. */
function moveRun({ first, count }: SlotRun, { from, to }: { from: SlotSet; to: SlotSet }): void {
  const end = first + count
  let slot = from.nextPresent(first, end)
  while (slot < end) {
    const until = from.nextAbsent(slot, end)
    const part = { first: slot, count: until - slot }
    to.addRun(part)
    from.deleteRun(part)
    slot = from.nextPresent(until, end)
  }
}

interface PlanParts {
  readonly geometry: Geometry
  readonly mode: BackupMode
  readonly readSlots: SlotSet
  readonly zeroSlots: SlotSet
}

/** What a backup will do with each slot of the volume; every slot has exactly one action. */
export class BackupPlan {
  readonly geometry: Geometry
  readonly mode: BackupMode
  readonly readSlots: SlotSet
  readonly zeroSlots: SlotSet

  constructor({ geometry, mode, readSlots, zeroSlots }: PlanParts) {
    this.geometry = geometry
    this.mode = mode
    this.readSlots = readSlots
    this.zeroSlots = zeroSlots
    invariant(this.carriedSlots >= 0, 'no slot is both read and zero')
    const readsAll = mode === 'full' || mode === 'rescan'
    invariant(!readsAll || this.carriedSlots === 0, 'a mode that reads everything carries nothing')
  }

  get volumeBytes(): number {
    return this.geometry.volumeBytes
  }

  get slotCount(): number {
    return this.readSlots.slotCount
  }

  /** Number of slots taken over from the parent. */
  get carriedSlots(): number {
    return this.slotCount - this.readSlots.size - this.zeroSlots.size
  }

  get readBytes(): number {
    return this.#bytesOf(this.readSlots)
  }

  get zeroBytes(): number {
    return this.#bytesOf(this.zeroSlots)
  }

  get carriedBytes(): number {
    return this.volumeBytes - this.readBytes - this.zeroBytes
  }

  /** Yields the maximal runs to read in ascending order. */
  readRuns(): Generator<SlotRun> {
    return this.readSlots.runs()
  }

  /** Yields the maximal runs of zero and carried slots from slot `from` up to, not including, `until`. */
  *unreadRuns(from = 0, until = this.slotCount): Generator<PlannedRun> {
    for (const run of this.runs(from, until)) if (run.action !== 'read') yield run
  }

  /** Yields the maximal runs of one action in ascending order; together they are all the slots. */
  *runs(from = 0, until = this.slotCount): Generator<PlannedRun> {
    // Each set is searched forward only: a search begins where the last one of its set ended.
    let nextRead = -1
    let nextZero = -1
    let first = from
    while (first < until) {
      if (nextRead < first) nextRead = this.readSlots.nextPresent(first, until)
      if (nextZero < first) nextZero = this.zeroSlots.nextPresent(first, until)
      const { action, end } = this.#runAt(first, { nextRead, nextZero, until })
      yield { action, first, count: end - first }
      first = end
    }
  }

  #runAt(
    slot: number,
    { nextRead, nextZero, until }: RunSearch,
  ): { action: SlotAction; end: number } {
    if (slot === nextRead) return { action: 'read', end: this.readSlots.nextAbsent(slot, until) }
    if (slot === nextZero) return { action: 'zero', end: this.zeroSlots.nextAbsent(slot, until) }
    return { action: 'carry', end: Math.min(nextRead, nextZero) }
  }

  /** All slots are whole but the last one. */
  #bytesOf(slots: SlotSet): number {
    const { volumeBytes, chunkBytes } = this.geometry
    const missing = slots.has(this.slotCount - 1) ? this.slotCount * chunkBytes - volumeBytes : 0
    return slots.size * chunkBytes - missing
  }
}

interface RunSearch {
  readonly nextRead: number
  readonly nextZero: number
  readonly until: number
}
