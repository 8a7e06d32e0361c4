import type { CarriedFrom, LookedUpSlots } from './backup-parent.js'
import type { BackupContext } from './backup.js'
import { joinSlots, slotExtent, slotRunBytes, type Geometry } from './core/chunk.js'
import { MoverError } from './core/errors.js'
import type { Extent } from './core/extent.js'
import { newestFullyRead, type Manifest } from './core/manifest.js'
import { randomFraction } from './core/random-fraction.js'
import { rowsAgree } from './manifest/compare-rows.js'
import { mayMissChanges, recordDoubt } from './manifest/doubts.js'
import { PROGRAM_VERSION } from './native/program-version.js'
import { readSlots } from './pipeline/read-slots.js'
import { auditWindows } from './plan/audit-plan.js'
import type { BackupPlan } from './plan/backup-plan.js'
import type { Source } from './source/source.js'

/** How much of what was called clean was read all the same. */
export interface AuditOutcome {
  readonly slots: number
  readonly bytes: number
}

/** What is audited, and against what. */
interface AuditQuestion {
  readonly source: Source
  readonly plan: BackupPlan
  readonly carried: CarriedFrom | null
  readonly geometry: Geometry
  readonly context: BackupContext
  /** Throws where the source is not what it was when the backup began. */
  readonly checkUnchanged: () => Promise<void>
}

/**
 * Reads a random sample of the slots that were called clean and compares them with the parent.
 * Throws AUDIT_MISMATCH, naming the slots and every manifest that may have missed a change, when
 * the tracker has lied; the repository then has a doubt about it. Throws what `checkUnchanged` throws
 * where slots differ because they were written to meanwhile, of which no tracker could tell.
 */
export async function auditSource(question: AuditQuestion): Promise<AuditOutcome> {
  const { carried, geometry, context, checkUnchanged } = question
  const audited = { slots: 0, bytes: 0 }
  if (carried === null || context.audit === 'off') return audited
  const { parent } = carried
  context.emit({ type: 'stage', stage: 'audit' })
  for await (const sample of samples(question, carried)) {
    const slots = await differingSlots(sample, question)
    audited.slots += sample.slots.length
    audited.bytes += joinSlots(sample.slots).reduce(
      (sum, run) => sum + slotRunBytes(geometry, run),
      0,
    )
    if (slots.length === 0) continue
    await checkUnchanged()
    throw await mismatch({ slots, audited, parent, geometry, context })
  }
  return audited
}

async function* samples(
  { plan, context: { audit: policy } }: AuditQuestion,
  { tree, sample }: CarriedFrom,
): AsyncGenerator<LookedUpSlots> {
  if (policy === 'default') {
    yield sample
    return
  }
  for (const slots of auditWindows({ plan, policy, random: randomFraction })) {
    yield { slots, rows: await tree.lookup(slots) }
  }
}

/** Those of some slots in which the source is not what the parent says. */
async function differingSlots(
  { slots, rows: expected }: LookedUpSlots,
  { source, geometry, context }: AuditQuestion,
): Promise<number[]> {
  const { repository, emit, signal } = context
  const { index } = repository.store
  const found: Uint8Array[] = []
  const options = { device: source.handle, geometry, index, budgets: context, emit, signal }
  for await (const { rows } of readSlots(joinSlots(slots), options)) found.push(rows)
  const rows = Buffer.concat(found)
  return slots.filter((_, position) => !rowsAgree(rows, expected, position))
}

/** A lie of the tracker's, against what the parent says. */
interface Lie {
  /** The slots that differ. */
  readonly slots: readonly number[]
  readonly audited: AuditOutcome
  readonly parent: Manifest
  readonly geometry: Geometry
  readonly context: BackupContext
}

/**
 * The error that says where the tracker has lied, and since when it may have done so. The repository
 * remembers it: the next backup reads everything, where a second look at the same tracking may pass by
 * chance.
 */
async function mismatch(lie: Lie): Promise<MoverError> {
  const { slots, audited, geometry } = lie
  // First of all: what ends the run while the manifests are read must not end what is known of the tracker.
  const isRecorded = await remember(lie)
  const suspects = await suspectsOf(lie)
  const extents: Extent[] = slots.slice(0, 64).map(slot => slotExtent(geometry, slot))
  const first = extents[0]?.offset ?? 0
  return new MoverError(
    'AUDIT_MISMATCH',
    `the change tracker lied: ${slots.length} of ${audited.slots} audited slots that it called ` +
      `clean differ from the parent, the first at byte ${first}`,
    {
      stage: 'audit',
      offset: first,
      remedy:
        (isRecorded
          ? 'back up again: what was tracked since is not believed any more, and all of the volume is read; '
          : 'back up again without --changes, and a machine with --full: what believes the same tracking ' +
            'once more may pass by chance; ') +
        (suspects.length === 0
          ? 'the parent itself was read in full and holds'
          : `these manifests were made from the same tracking and may miss changes: ${suspects.join(', ')}`),
      details: { slots: slots.slice(0, 1024), slotsInAll: slots.length, extents, suspects },
    },
  )
}

/** The newest manifest whose every slot was read is above suspicion; all that build on it are not. */
async function suspectsOf({ parent, context }: Lie): Promise<string[]> {
  const { repository, volume } = context
  const doubts = new Set([newestFullyRead(parent)])
  // Whoever cancels the run is told of the lie all the same.
  const manifests = await repository.manifests(volume)
  return manifests.filter(manifest => mayMissChanges(manifest, doubts)).map(({ id }) => id)
}

/** Whether the repository now knows; that it could not be written must not hide what the audit found. */
async function remember({ slots, parent, context }: Lie): Promise<boolean> {
  const { repository, volume, emit } = context
  try {
    await recordDoubt(repository, {
      volume,
      fullyRead: newestFullyRead(parent),
      slots: slots.length,
      createdMs: Date.now(),
      writer: PROGRAM_VERSION,
    })
    return true
  } catch (error) {
    if (!(error instanceof MoverError)) throw error
    const message = `that the tracker lied could not be recorded: ${error.message}`
    emit({ type: 'warning', code: error.code, message })
    return false
  }
}
