import { segmentName } from '../backend/object-name.js'
import type { AbortOptions } from '../core/abort.js'
import { loadAddon, native } from '../native/addon.js'
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
 * Merges segments as they multiply; returns the bytes that it published. The merged one is durable
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

  const merged = await native(
    addon => addon.mergeSegments(store.index, ids, `${tempPrefix}merge.`, store.segmentBytesMax),
    'store',
  )
  if (merged.length === 0) return 0
  const added = await publishSegments(store, merged, options)
  await store.takeUp(merged, options)
  const made = new Set(merged.map(({ id }) => id))
  const replaced = ids.filter(id => !made.has(id))
  loadAddon().dropSegments(store.index, replaced)
  for (const id of replaced) await store.backend.remove(segmentName(id), options)
  return added
}

function planned({ index, segmentBytesMax }: ChunkStore): readonly string[] {
  const held = native(addon => addon.listSegments(index), 'store')
  return planSegmentMerge(held, segmentBytesMax)
}
