import type { BackupContext } from './backup.js'
import { drainExtents } from './cbt/change-map.js'
import type { Geometry } from './core/chunk.js'
import type { DisposalStack } from './core/disposal-stack.js'
import { isDamage } from './core/damage-error.js'
import type { Extent } from './core/extent.js'
import type { Manifest } from './core/manifest.js'
import { modeReasonWords } from './core/mode-reason.js'
import { randomFraction } from './core/random-fraction.js'
import { openTree } from './manifest-tree.js'
import { readDoubts } from './manifest/doubts.js'
import { readManifests } from './manifest/manifest-catalog.js'
import type { TreeReader } from './manifest/tree-reader.js'
import { isZeroRow, rowDigest } from './native/slot-rows.js'
import { auditWindows } from './plan/audit-plan.js'
import { planBackup, type BackupPlan } from './plan/backup-plan.js'
import {
  chooseParent,
  withHealth,
  withLostChunks,
  type NamedParent,
  type ParentChoice,
} from './plan/parent-choice.js'
import type { ChangeAnswer } from './source/change-source.js'
import type { Source } from './source/source.js'
import { lostChunks } from './store/lost-chunks.js'

/** What a backup builds on, and what it will do with each slot. */
export interface PlannedBackup {
  readonly choice: ParentChoice
  readonly plan: BackupPlan
  /** What carried slots are taken from; null where none are. */
  readonly carried: CarriedFrom | null
  /** Throws SOURCE_CHANGED where the source, or the change map that was believed, is not what it was. */
  readonly checkUnchanged: () => Promise<void>
}

/** What is opened for as long as the backup lasts is held there. */
export interface PlanContext extends BackupContext {
  readonly held: DisposalStack
}

/** The parent of carried slots. */
export interface CarriedFrom {
  readonly parent: Manifest
  readonly tree: TreeReader
  /** The slots of a default audit, drawn and looked up when it was seen that the parent holds. */
  readonly sample: LookedUpSlots
}

/** Some ascending slots, and a row of the parent for each. */
export interface LookedUpSlots {
  readonly slots: readonly number[]
  readonly rows: Uint8Array
}

/**
 * Chooses the parent, asks the change source, and plans. What is carried must still be there: a
 * parent of which chunks are lost is good for a rescan only, which stores them anew. Says in an event
 * when the backup has to do more than was asked for. Throws what `chooseParent`, `planBackup` and the
 * change source throw.
 */
export async function planOnParent(
  source: Source,
  geometry: Geometry,
  context: PlanContext,
): Promise<PlannedBackup> {
  const { repository, signal, readHoles } = context
  const { answer, ...chosen } = await chooseBackupParent(source, geometry, context)
  // After the parent is known: a backup may commit in between, and its chunks must be found.
  await repository.store.refresh({ signal })
  const planFor = async (choice: ParentChoice) => {
    const { mode, useChanges } = choice
    const allocated = (within: Iterable<Extent>) => source.allocated(within, { signal })
    const changes = useChanges ? (answer?.extents ?? null) : null
    return { choice, plan: await planBackup({ geometry, mode, changes, allocated, readHoles }) }
  }
  const planned = await planFor(chosen)
  const carried = await carriedFrom(planned, context)
  const isLost = carried === 'lost'
  const { choice, plan } = isLost ? await planFor(withLostChunks(chosen)) : planned
  if (choice.mode !== choice.requested) announce(choice, context)
  const checkUnchanged = async () => {
    await source.checkUnchanged()
    if (choice.useChanges) await answer?.checkUnmoved?.()
  }
  return { choice, plan, carried: isLost ? null : carried, checkUnchanged }
}

/** Opens what is to be carried from; it is lost where a random sample of chunks, or their pages, is. */
async function carriedFrom(
  { choice: { parent }, plan }: Pick<PlannedBackup, 'choice' | 'plan'>,
  { repository, signal }: BackupContext,
): Promise<CarriedFrom | 'lost' | null> {
  if (parent === null || plan.carriedSlots === 0) return null
  try {
    const tree = openTree(repository.store, parent)
    const drawing = { plan, policy: 'default', random: randomFraction } as const
    // By default there is one window, and at least one slot.
    const [slots = []] = auditWindows(drawing)
    const rows = await tree.lookup(slots)
    const digests = [...slots.keys()]
      .filter(position => !isZeroRow(rows, position))
      .map(position => rowDigest(rows, position))
    const lost = await lostChunks(repository.store, digests, { signal })
    return lost.length === 0 ? { parent, tree, sample: { slots, rows } } : 'lost'
  } catch (error) {
    // A page is lost as a chunk is; but what a damaged segment does not tell is not known.
    if (isDamage(error) && error.code !== 'SEGMENT_CORRUPT') return 'lost'
    throw error
  }
}

interface AnsweredChoice extends ParentChoice {
  /** The change source's; null where none was asked. */
  readonly answer: ChangeAnswer | null
}

async function chooseBackupParent(
  source: Source,
  geometry: Geometry,
  context: PlanContext,
): Promise<AnsweredChoice> {
  const { repository, volume, changes, emit, signal } = context
  const { manifests, damaged } = await readManifests(repository, volume, { signal })
  for (const { name, error } of damaged) {
    const message = `${name} is passed over: ${error.message}; mover verify says more`
    emit({ type: 'warning', code: error.code, message })
  }
  const chosen = chooseParent({
    repositoryId: repository.id,
    volume,
    geometry,
    manifests,
    full: context.full,
    named: await namedParent(context),
    changes,
    doubts: await readDoubts(repository, { signal }),
  })
  const answer = context.full ? null : await askChanges(chosen, source, context)
  const choice = answer === null ? chosen : withHealth(chosen, answer.health)
  return { ...choice, answer }
}

async function namedParent({
  repository,
  volume,
  parent,
  signal,
}: BackupContext): Promise<NamedParent | null> {
  if (parent === null) return null
  return { reference: parent, manifest: await repository.resolve(parent, volume, { signal }) }
}

/** A map that is not believed is asked too, and read: nonsense is refused whether or not it is used. */
async function askChanges(
  { parent, useChanges }: ParentChoice,
  { volumeBytes, identity }: Source,
  { changes, held, signal }: PlanContext,
): Promise<ChangeAnswer | null> {
  if (changes === null) return null
  const parentVolumeBytes = parent?.volumeBytes ?? volumeBytes
  const request = { volumeBytes, parentVolumeBytes, sourceIdentity: identity, held, signal }
  const answer = await changes.changed(request)
  if (!useChanges) await drainExtents(answer.extents)
  return answer
}

function announce(
  { mode, requested, reason }: ParentChoice,
  { changes, emit }: BackupContext,
): void {
  const why = reason ?? 'unknown'
  const since = why === 'lineage' && changes !== null ? ` ('${changes.since}')` : ''
  const message = `${requested} was asked for, the backup is a ${mode}: ${modeReasonWords(why)}${since}`
  emit({ type: 'fallback', requested, mode, reason: why, message })
}
