import type { Manifest } from './core/manifest.js'
import { TreeReader } from './manifest/tree-walk.js'
import type { ChunkStore } from './store/chunk-store.js'

/** The tree of a manifest, its pages read through the store and checked against their digests. */
export function treeReader(store: ChunkStore, manifest: Manifest): TreeReader {
  return new TreeReader({
    geometry: manifest,
    tree: manifest.tree,
    readPages: digests => store.readPages(digests),
  })
}
