import { join } from 'node:path'
import { objectId } from './backend/object-name.js'
import type { AbortOptions } from './core/abort.js'
import { startJob, type Job, type JobContext } from './core/job.js'
import type { Damage } from './core/progress.js'
import { beginJobSession } from './job-session.js'
import { native } from './native/addon.js'
import type { Repository } from './repository.js'
import { publishSegments } from './store/publish-segments.js'

export interface RebuildIndexOptions extends AbortOptions {
  readonly repository: Repository
}

export interface RebuildIndexResult {
  readonly operation: 'rebuild-index'
  readonly packs: number
  readonly entries: number
  readonly segments: number
  /** Packs of which nothing, or not everything, could be read. */
  readonly damage: readonly Damage[]
  readonly seconds: number
}

/**
 * Makes the chunk index anew from the packs alone: from their footers, and frame by frame where a
 * footer is damaged. The old segments are removed once the new ones are durable. It may run
 * beside backups: what they publish meanwhile is not touched.
 */
export function rebuildIndex({ repository, signal }: RebuildIndexOptions): Job<RebuildIndexResult> {
  return startJob(context => run(repository, context), { signal })
}

async function run(
  repository: Repository,
  { signal, emit }: JobContext,
): Promise<RebuildIndexResult> {
  const startedMs = performance.now()
  const { backend, store } = repository
  await using session = await beginJobSession(repository, { kind: 'write' }, emit)
  emit({ type: 'stage', stage: 'index' })
  // Segments first: a pack that is published later has its own segment, which is then not replaced.
  const replaced = await idsOf(repository, 'index/', { signal })
  const packs = await idsOf(repository, 'packs/', { signal })
  const { segments, damaged } = await native(
    addon =>
      addon.writePackSegments(
        Buffer.from(repository.id, 'hex'),
        packs.map(({ id, name }) => ({ id, path: join(store.root, name) })),
        `${session.tempPrefix}rebuild.`,
        replaced.map(({ id }) => id),
        store.segmentBytesMax,
      ),
    'store',
  )
  emit({ type: 'stage', stage: 'commit' })
  const fresh = new Set(segments.map(({ id }) => id))
  // In order, each durable before the next: the last one says that the old ones are replaced.
  await publishSegments(store, segments, { signal })
  for (const { id, name } of replaced) if (!fresh.has(id)) await backend.remove(name)
  await store.refresh({ signal })
  return {
    operation: 'rebuild-index',
    packs: packs.length,
    entries: segments.reduce((sum, { entries }) => sum + entries, 0),
    segments: segments.length,
    damage: damaged.map(({ id, message }) => ({
      kind: 'pack',
      name: id,
      message,
      manifests: [],
      extents: [],
      extentsInAll: 0,
    })),
    seconds: (performance.now() - startedMs) / 1000,
  }
}

interface NamedObject {
  readonly id: string
  readonly name: string
}

async function idsOf(
  { backend }: Repository,
  prefix: 'index/' | 'packs/',
  options: AbortOptions,
): Promise<NamedObject[]> {
  const objects: NamedObject[] = []
  for await (const { name } of backend.list(prefix, options)) {
    objects.push({ id: objectId(name), name })
  }
  return objects
}
