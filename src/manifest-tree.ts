import type { AbortOptions } from './core/abort.js'
import { isDamage } from './core/damage-error.js'
import { MoverError } from './core/errors.js'
import type { Manifest } from './core/manifest.js'
import { TreeReader } from './manifest/tree-reader.js'
import type { ChunkStore } from './store/chunk-store.js'

/** The tree of a manifest, its pages read through the store, which checks them against their digests. */
export function openTree(store: ChunkStore, manifest: Manifest): TreeReader {
  return new TreeReader({
    geometry: manifest,
    tree: manifest.tree,
    readPages: digests => readTreePages(store, digests),
  })
}

/**
 * The bytes of tree pages, in the order asked for; null for one that has no good copy. A page whose pack is gone or cut is damaged as much
 * as one that is not what its digest names: PAGE_CORRUPT.
 */
export async function readTreePages(
  store: ChunkStore,
  digests: readonly Uint8Array[],
  options?: AbortOptions,
): Promise<(Uint8Array | null)[]> {
  try {
    return await store.readPages(digests, options)
  } catch (cause) {
    if (!isDamage(cause) || cause.code === 'CHUNK_MISSING') throw cause
    throw new MoverError('PAGE_CORRUPT', `a tree page is lost: ${cause.message}`, {
      stage: 'read',
      remedy: 'mover verify names everything that is damaged',
      cause,
    })
  }
}
