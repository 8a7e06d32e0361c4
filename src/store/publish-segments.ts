import { join } from 'node:path'
import { segmentName } from '../backend/object-name.js'
import type { AbortOptions } from '../core/abort.js'
import { isDamage, isLostByMedium } from '../core/damage-error.js'
import { MoverError } from '../core/errors.js'
import { loadAddon, native, type SegmentFile } from '../native/addon.js'
import type { ChunkStore } from './chunk-store.js'

/**
 * Gives segments their names, in order, each durable before the next. A name that is taken is no
 * conflict: it is the digest of the bytes, so that another session has made the same segment. Only
 * where that one is damaged does the new one take its place. Returns the bytes that are new.
 */
export async function publishSegments(
  store: ChunkStore,
  segments: readonly SegmentFile[],
  options?: AbortOptions,
): Promise<number> {
  let added = 0
  for (const segment of segments) {
    const isNew =
      (await publish(store, segment, options)) || (await repair(store, segment, options))
    if (isNew) added += segment.bytes
  }
  return added
}

/** Whether the name was free. */
async function publish(
  { backend }: ChunkStore,
  { id, tempPath }: SegmentFile,
  options?: AbortOptions,
): Promise<boolean> {
  try {
    await backend.publish([{ tempPath, name: segmentName(id) }], options)
    return true
  } catch (error) {
    if (error instanceof MoverError && error.code === 'OBJECT_EXISTS') return false
    throw error
  }
}

/** Whether the segment that has the name was damaged, or gone again, and now is this one. */
async function repair(
  store: ChunkStore,
  segment: SegmentFile,
  options?: AbortOptions,
): Promise<boolean> {
  const { id } = segment
  const name = segmentName(id)
  try {
    await native(addon => addon.checkSegment(join(store.root, name), id), 'store')
    return false
  } catch (error) {
    if (!isDamage(error) && !isLostByMedium(error)) throw error
  }
  loadAddon().dropSegments(store.index, [id])
  await store.backend.remove(name, options)
  return publish(store, segment, options)
}
