import type { Manifest } from '../core/manifest.js'

/**
 * The newest of `manifests` that was backed up at `checkpoint`, or null. Newest by sequence: clocks
 * go back, counters do not.
 */
export function manifestAtCheckpoint(
  manifests: readonly Manifest[],
  checkpoint: string,
): Manifest | null {
  return newestManifest(manifests.filter(manifest => manifest.checkpoint === checkpoint))
}

/** The manifest with the highest sequence; of equals the last; null where there is none. */
export function newestManifest(manifests: readonly Manifest[]): Manifest | null {
  let newest: Manifest | null = null
  for (const manifest of manifests) {
    if (newest === null || manifest.sequence >= newest.sequence) newest = manifest
  }
  return newest
}
