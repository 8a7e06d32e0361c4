import type { AbortOptions } from './core/abort.js'
import { slotCount, slotExtent, slotRunBytes } from './core/chunk.js'
import type { StatedExtent } from './core/extent.js'
import { SlotSet } from './core/slot-set.js'
import { openTree } from './manifest-tree.js'
import { partsByState } from './manifest/compare-rows.js'
import { slotsDifferingFrom } from './manifest/tree-diff.js'
import type { Repository } from './repository.js'

/** An extent of a manifest: data or zero, and whether it differs from the parent. */
export interface MappedExtent extends StatedExtent {
  readonly state: 'data' | 'zero'
  /** False throughout where there is no parent to compare with. */
  readonly changed: boolean
}

export interface MapManifestOptions extends AbortOptions {
  readonly repository: Repository
  /** A manifest reference. */
  readonly manifest: string
}

/** Yields ordered, gap-free extents that say what the volume held, and what the backup changed. */
export async function* mapManifest(options: MapManifestOptions): AsyncGenerator<MappedExtent> {
  const { repository, signal } = options
  await using _session = await repository.beginSession('read', null)
  const manifest = await repository.resolve(options.manifest, null, { signal })
  // After the manifest is known: a backup may commit in between, and its chunks must be found.
  await repository.store.refresh({ signal })
  const tree = openTree(repository.store, manifest)
  const parents = await repository.manifests(manifest.volume, { signal })
  const parent = parents.find(({ id }) => id === manifest.parent)
  const changed = new SlotSet(slotCount(manifest))
  if (parent !== undefined && parent.chunkBytes === manifest.chunkBytes) {
    const before = openTree(repository.store, parent)
    for await (const run of slotsDifferingFrom(tree, before)) changed.addRun(run)
  }
  for await (const rows of tree.slots()) {
    for (const { first, count, isZero } of partsByState(rows)) {
      const state = isZero ? 'zero' : 'data'
      for (let slot = first; slot < first + count;) {
        const isChanged = changed.has(slot)
        const until = first + count
        const end = isChanged ? changed.nextAbsent(slot, until) : changed.nextPresent(slot, until)
        const part = { first: slot, count: end - slot }
        const length = slotRunBytes(manifest, part)
        yield { offset: slotExtent(manifest, slot).offset, length, state, changed: isChanged }
        slot += part.count
      }
    }
  }
}
