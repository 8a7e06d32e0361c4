import type { AbortOptions } from '../../core/abort.js'
import { bitmapsOf, planBitmaps, type BitmapPlan } from './bitmap-plan.js'
import { readBlockState, type BlockNode } from './block-state.js'
import type { QmpClient } from './qmp-client.js'

/** Whose bitmaps, and what is committed. */
export interface BitmapQuestion {
  readonly node: string
  readonly lineage: string
  /** Checkpoints of manifests, oldest first. */
  readonly committed: readonly string[]
}

/**
 * Leaves one bitmap of a lineage on a disk, which records all that was written since the newest committed
 * checkpoint, or none where that cannot be had; says which. May be repeated after a kill: what is merged
 * twice is only the same bits.
 */
export async function settleBitmaps(
  qmp: QmpClient,
  { node, lineage, committed }: BitmapQuestion,
  options?: AbortOptions,
): Promise<BitmapPlan> {
  const { nodes } = await readBlockState(qmp, options)
  const plan = planBitmaps(bitmapsOf(nodes.get(node)?.bitmaps ?? [], lineage), committed)
  const { kept, merge, enable, remove } = plan
  if (kept !== null && (merge.length > 0 || enable)) {
    // Bits first: a bitmap that records again looks whole to the next run.
    const actions = [
      ...(merge.length > 0
        ? [{ type: 'block-dirty-bitmap-merge', data: { node, target: kept, bitmaps: merge } }]
        : []),
      ...(enable ? [{ type: 'block-dirty-bitmap-enable', data: { node, name: kept } }] : []),
    ]
    await qmp.execute('transaction', { actions }, options)
  }
  for (const name of remove) {
    await qmp.execute('block-dirty-bitmap-remove', { node, name }, options)
  }
  const isElsewhere = plan.lost === 'no-bitmap' && hasBitmap(nodes.values(), committed.at(-1))
  return isElsewhere ? { ...plan, lost: 'bitmap-elsewhere' } : plan
}

/** Whether some node has it: names of bitmaps are of one checkpoint. */
function hasBitmap(nodes: Iterable<BlockNode>, name: string | undefined): boolean {
  return [...nodes].some(({ bitmaps }) => bitmaps.some(bitmap => bitmap.name === name))
}
