import { join } from 'node:path'
import { objectId } from './backend/object-name.js'
import type { AbortOptions } from './core/abort.js'
import { withBudgetDefaults, type BudgetOptions, type Budgets } from './core/budgets.js'
import { damageMessageOrThrow } from './core/damage-error.js'
import { MoverError } from './core/errors.js'
import { startJob, type Job, type JobContext } from './core/job.js'
import type { Manifest } from './core/manifest.js'
import type { Damage } from './core/progress.js'
import { beginJobSession } from './job-session.js'
import { missingChanges } from './manifest/doubts.js'
import { readManifests, resolveReference } from './manifest/manifest-catalog.js'
import { native } from './native/addon.js'
import type { Repository } from './repository.js'
import { DamageReport } from './verify-damage.js'
import { verifyIndependently } from './verify-independently.js'
import { verifyPacks } from './verify-packs.js'
import { verifyTrees } from './verify-trees.js'

export interface VerifyOptions extends AbortOptions, BudgetOptions {
  readonly repository: Repository
  /** Manifest references; all manifests, unless given. */
  readonly manifests?: readonly string[]
  /** Compares every pack with the digest that names it, at the speed of the disk, and decodes nothing. */
  readonly packs?: boolean
  /** Decodes with a second implementation that shares no code with the native one; slow. */
  readonly independent?: boolean
}

export interface VerifyResult {
  readonly operation: 'verify'
  readonly manifests: number
  /** Packs that were read as a whole: with `packs` or `independent`, else 0. */
  readonly packs: number
  readonly segments: number
  /** Tree pages that were read, 0 with `packs`; one that several manifests share counts each time it was. */
  readonly pages: number
  /** Stored chunks that were decoded and compared, 0 with `packs`; one that several manifests share counts once. */
  readonly chunks: number
  /** Plain bytes of these chunks, or bytes of the packs with `packs`. */
  readonly bytes: number
  /** Empty when all is well: damage is a result, not an error. */
  readonly damage: readonly Damage[]
  readonly seconds: number
}

/** What the ways of verifying hand back. */
export interface VerifiedParts {
  readonly packs: number
  readonly pages: number
  readonly chunks: number
  readonly bytes: number
}

/** What the steps of one verify hand each other. */
export interface VerifyContext extends JobContext, Budgets {
  readonly repository: Repository
  readonly report: DamageReport
}

/**
 * Reads, decodes and compares what manifests need, or whole packs, and names whatever is damaged
 * with the extents that can no longer be restored. It changes nothing.
 */
export function verify({ signal, ...options }: VerifyOptions): Job<VerifyResult> {
  return startJob(context => run(options, context), { signal })
}

async function run(options: Omit<VerifyOptions, 'signal'>, job: JobContext): Promise<VerifyResult> {
  const startedMs = performance.now()
  const { repository } = options
  const { signal, emit } = job
  const context: VerifyContext = {
    ...job,
    repository,
    report: new DamageReport(emit),
    ...withBudgetDefaults(options),
  }
  await using _session = await beginJobSession(repository, { kind: 'read' }, emit)
  // Manifests first: a backup may commit in between, and its chunks must not be called missing.
  const manifests = await selectManifests(options.manifests ?? null, context)
  // That chunks hold says nothing of changes that were never read.
  for (const warning of await missingChanges(repository, manifests, { signal })) emit(warning)
  emit({ type: 'stage', stage: 'index' })
  const segments = await verifySegments(context)
  emit({ type: 'stage', stage: 'verify' })
  const parts = await verifyParts(options, { manifests, segments }, context)
  return {
    operation: 'verify',
    manifests: manifests.length,
    segments: segments.listed,
    ...parts,
    damage: context.report.all(),
    seconds: (performance.now() - startedMs) / 1000,
  }
}

function verifyParts(
  options: Omit<VerifyOptions, 'signal'>,
  found: { readonly manifests: readonly Manifest[]; readonly segments: VerifiedSegments },
  context: VerifyContext,
): Promise<VerifiedParts> {
  if (options.independent === true) return verifyIndependently(found.manifests, context)
  if (options.packs === true) return verifyPacks(found.segments.good, context)
  return verifyTrees(found.manifests, context)
}

interface VerifiedSegments {
  readonly listed: number
  /** Names of those that hold. */
  readonly good: readonly string[]
}

/** Every byte of every segment; a damaged one is left out of the look-ups that follow. */
async function verifySegments(context: VerifyContext): Promise<VerifiedSegments> {
  const { repository, report, signal } = context
  const { backend, store } = repository
  await store.refreshTolerant({ signal })
  const good: string[] = []
  let listed = 0
  for await (const { name } of backend.list('index/', { signal })) {
    const id = objectId(name)
    listed += 1
    try {
      await native(addon => addon.checkSegment(join(store.root, name), id), 'verify')
      good.push(name)
    } catch (error) {
      // Merged away since it was listed.
      if (isCode(error, 'OBJECT_NOT_FOUND')) continue
      report.add('segment', id, damageMessageOrThrow(error))
      native(addon => {
        addon.dropSegments(store.index, [id])
      })
    }
  }
  return { listed, good }
}

async function selectManifests(
  references: readonly string[] | null,
  { repository, report, signal }: VerifyContext,
): Promise<readonly Manifest[]> {
  const { manifests, damaged } = await readManifests(repository, undefined, { signal })
  for (const { name, error } of damaged) report.add('manifest', name, damageMessageOrThrow(error))
  if (references === null || references.length === 0) return manifests
  // By the one listing: a backup that commits now must not become the latest, and then be left out.
  const named = references.map(reference =>
    resolveReference(reference, { manifests, damaged, volume: null }),
  )
  return [...new Map(named.map(manifest => [manifest.id, manifest])).values()]
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof MoverError && error.code === code
}
