import { segmentName } from '../backend/object-name.js'
import type { AbortOptions } from '../core/abort.js'
import { isDamage } from '../core/damage-error.js'
import { MoverError } from '../core/errors.js'
import { loadAddon, native, type SegmentFile } from '../native/addon.js'
import { planSegmentMerge } from '../plan/segment-merge-plan.js'
import type { ChunkStore } from './chunk-store.js'
import { publishSegments } from './publish-segments.js'

export interface MergeOptions extends AbortOptions {
  /** Prefix of the session's temporary files. */
  readonly tempPrefix: string
}

/** The stores that a merge is under way in: jobs that share one would plan the same merge. */
const merging = new WeakSet<ChunkStore>()

/**
 * Merges segments as they multiply; returns the bytes that it published. A damaged segment, or a full
 * disk, is no reason to fail a backup that needs neither: then nothing is merged, and nothing removed. The merged one is durable
 * before those that it replaces are removed; whoever has these open keeps them, whoever does not
 * lists again. Another process may merge the same ones meanwhile: both then make the same segment.
 */
export async function mergeSegments(store: ChunkStore, options: MergeOptions): Promise<number> {
  if (merging.has(store)) return 0
  merging.add(store)
  try {
    return await merge(store, options)
  } finally {
    merging.delete(store)
  }
}

async function merge(store: ChunkStore, { tempPrefix, ...options }: MergeOptions): Promise<number> {
  if (planned(store).length === 0) return 0
  // Others may have merged some of them by now.
  await store.refreshTolerant(options)
  const ids = planned(store)
  if (ids.length === 0) return 0

  let added = 0
  try {
    const merged = await native(
      addon => addon.mergeSegments(store.index, ids, `${tempPrefix}merge.`, store.segmentBytesMax),
      'store',
    )
    added = await publishSegments(store, merged, options)
    await replace(store, { ids, merged, options })
  } catch (error) {
    const isFull = error instanceof MoverError && error.code === 'BACKEND_FULL'
    if (!isFull && !isDamage(error)) throw error
  }
  return added
}

/** Takes up what was merged, and removes what it was made from. */
async function replace(
  store: ChunkStore,
  parts: {
    readonly ids: readonly string[]
    readonly merged: readonly SegmentFile[]
    readonly options: AbortOptions
  },
): Promise<void> {
  const { ids, merged, options } = parts
  if (merged.length === 0) return
  await store.takeUp(merged, options)
  const made = new Set(merged.map(({ id }) => id))
  const replaced = ids.filter(id => !made.has(id))
  loadAddon().dropSegments(store.index, replaced)
  for (const id of replaced) await store.backend.remove(segmentName(id), options)
}

function planned({ index, segmentBytesMax }: ChunkStore): readonly string[] {
  const held = native(addon => addon.listSegments(index), 'store')
  return planSegmentMerge(held, segmentBytesMax)
}
