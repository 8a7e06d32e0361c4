import type { AbortOptions } from './core/abort.js'
import { slotExtent, slotRunBytes } from './core/chunk.js'
import { MoverError } from './core/errors.js'
import type { Extent } from './core/extent.js'
import type { Manifest } from './core/manifest.js'
import { openTree } from './manifest-tree.js'
import { slotsDifferingFrom } from './manifest/tree-diff.js'
import type { Repository } from './repository.js'

export interface DiffOptions extends AbortOptions {
  readonly repository: Repository
  /** Manifest references. */
  readonly from: string
  readonly to: string
}

/**
 * Yields the extents of `to` whose bytes may differ from those of `from`, to the chunk, ascending
 * and with a gap between any two. Both trees are walked only where they differ.
 */
export async function* diff({ repository, from, to, signal }: DiffOptions): AsyncGenerator<Extent> {
  await using _session = await repository.beginSession('read', null)
  const before = await repository.resolve(from, null, { signal })
  const after = await repository.resolve(to, null, { signal })
  // After both manifests are known: a backup may commit in between, and their chunks must be found.
  await repository.store.refresh({ signal })
  yield* differingExtents(repository, before, after)
}

/** As `diff`, of manifests that the caller holds. Throws ARGUMENT_INVALID where their chunks differ in size. */
async function* differingExtents(
  { store }: Repository,
  before: Manifest,
  after: Manifest,
): AsyncGenerator<Extent> {
  if (before.chunkBytes !== after.chunkBytes) {
    throw new MoverError(
      'ARGUMENT_INVALID',
      'the two manifests are cut into chunks of different size',
    )
  }
  for await (const run of slotsDifferingFrom(openTree(store, after), openTree(store, before))) {
    yield { offset: slotExtent(after, run.first).offset, length: slotRunBytes(after, run) }
  }
}
