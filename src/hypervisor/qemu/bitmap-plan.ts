/**
 * What becomes of the dirty bitmaps that mover keeps on a disk, decided from what is found: the bitmaps,
 * and the checkpoints of which a manifest tells. Pure, so that a killed run and one that has failed are
 * put right by the same table.
 *
 * A run adds a new bitmap and disables the old one in one transaction, commits a manifest that names the
 * new one, and removes the old one. Whatever is found is one of the states in between.
 */
import type { NodeBitmap } from './block-state.js'

export interface BitmapPlan {
  /** The bitmap that records all since the checkpoint of its name, once the rest is done; null: none does. */
  readonly kept: string | null
  /** Why none does; null where one does. */
  readonly lost: 'no-bitmap' | 'bitmap-elsewhere' | 'bitmap-inconsistent' | 'bitmap-disabled' | null
  /** Bitmaps to merge into `kept`. */
  readonly merge: readonly string[]
  /** Whether `kept` has to record again. */
  readonly enable: boolean
  /** Bitmaps of no use, once `kept` has what they hold. */
  readonly remove: readonly string[]
}

const PREFIX = 'mover-'

/** The bitmap of a checkpoint; `id` is unlike every other's. */
export function bitmapName(lineage: string, id: string): string {
  return `${PREFIX}${lineage}-${id}`
}

/** The lineage in a bitmap's name; null of a name that `bitmapName` did not make. */
export function lineageOf(name: string): string | null {
  return /^mover-([0-9a-f]{16})-/.exec(name)?.[1] ?? null
}

/** The bitmaps among `bitmaps` that belong to one volume of one repository: nobody else's are touched. */
export function bitmapsOf(bitmaps: readonly NodeBitmap[], lineage: string): NodeBitmap[] {
  return bitmaps.filter(({ name }) => name.startsWith(`${PREFIX}${lineage}-`))
}

/** `committed` has the checkpoints of manifests, oldest first. */
export function planBitmaps(
  bitmaps: readonly NodeBitmap[],
  committed: readonly string[],
): BitmapPlan {
  const base = newestCommitted(bitmaps, committed)
  const others = bitmaps.filter(bitmap => bitmap !== base)
  const names = (some: readonly NodeBitmap[]) => some.map(({ name }) => name)
  const nothing = (lost: BitmapPlan['lost']): BitmapPlan => ({
    kept: null,
    lost,
    merge: [],
    enable: false,
    remove: names(bitmaps),
  })
  if (base === null) return nothing('no-bitmap')
  // After a crash of QEMU nothing can be read from it.
  if (base.isInconsistent) return nothing('bitmap-inconsistent')

  // Those of no manifest began when a run of ours disabled `base`, and have what was written since.
  const uncommitted = others.filter(({ name }) => !committed.includes(name))
  const areWhole = uncommitted.every(bitmap => bitmap.isRecording && !bitmap.isInconsistent)
  if (!base.isRecording && (uncommitted.length === 0 || !areWhole)) {
    // Somebody has disabled it, and writes since then are recorded nowhere.
    return nothing('bitmap-disabled')
  }
  const usable = uncommitted.filter(({ isInconsistent }) => !isInconsistent)
  return {
    kept: base.name,
    lost: null,
    merge: names(usable),
    enable: !base.isRecording,
    remove: names(others),
  }
}

function newestCommitted(
  bitmaps: readonly NodeBitmap[],
  committed: readonly string[],
): NodeBitmap | null {
  const newest = committed.findLast(name => bitmaps.some(bitmap => bitmap.name === name))
  return bitmaps.find(({ name }) => name === newest) ?? null
}
