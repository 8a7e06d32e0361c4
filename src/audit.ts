import { slotExtent, type Geometry } from './core/chunk.js'
import { MoverError } from './core/errors.js'
import type { Extent } from './core/extent.js'
import type { Manifest } from './core/manifest.js'
import type { BackupContext } from './backup.js'
import { auditSlots } from './plan/audit-plan.js'
import type { BackupPlan } from './plan/backup-plan.js'
import { randomFraction } from './random-fraction.js'
import { readSlots } from './read-slots.js'
import { rowsAgree, runsOf } from './compare-rows.js'
import type { Source } from './source/source.js'
import { treeReader } from './tree-reader.js'

/** How much of what was called clean was read all the same. */
export interface AuditOutcome {
  readonly slots: number
  readonly bytes: number
}

/**
 * Reads a random sample of the slots that were called clean and compares them with the parent.
 * Throws AUDIT_MISMATCH, naming the slots and every manifest that may have missed a change, when
 * the tracker has lied.
 */
export async function auditSource(parts: {
  readonly source: Source
  readonly plan: BackupPlan
  readonly parent: Manifest | null
  readonly geometry: Geometry
  readonly context: BackupContext
}): Promise<AuditOutcome> {
  const { source, plan, parent, geometry, context } = parts
  const { repository, signal, emit } = context
  const slots = auditSlots({ plan, policy: context.audit, random: randomFraction })
  if (parent === null || slots.length === 0) return { slots: 0, bytes: 0 }
  emit({ type: 'stage', stage: 'audit' })
  const expected = await treeReader(repository.store, parent).lookup(slots)
  const found: Uint8Array[] = []
  const options = { device: source.handle, geometry, repository, budgets: context, signal }
  for await (const run of readSlots(runsOf(slots), options)) found.push(run.rows)
  const rows = Buffer.concat(found)
  const lies = slots.filter((_, position) => !rowsAgree(rows, expected, position))
  if (lies.length > 0) {
    const manifests = await repository.manifests(context.volume, { signal })
    throw mismatch(lies, {
      geometry,
      audited: slots.length,
      suspects: suspectsOf(parent, manifests),
    })
  }
  const bytes = slots.reduce((sum, slot) => sum + slotExtent(geometry, slot).length, 0)
  return { slots: slots.length, bytes }
}

/** The newest manifest whose every slot was read is above suspicion; all that were built on it since are not. */
function suspectsOf(parent: Manifest, manifests: readonly Manifest[]): string[] {
  const byId = new Map(manifests.map(manifest => [manifest.id, manifest]))
  const suspects: string[] = []
  let link: Manifest | undefined = parent
  while (link !== undefined && link.fullyRead !== null && suspects.length < manifests.length) {
    suspects.push(link.id)
    link = link.parent === null ? undefined : byId.get(link.parent)
  }
  return suspects
}

function mismatch(
  lies: readonly number[],
  {
    geometry,
    audited,
    suspects,
  }: { geometry: Geometry; audited: number; suspects: readonly string[] },
): MoverError {
  const extents: Extent[] = lies.slice(0, 64).map(slot => slotExtent(geometry, slot))
  const first = extents[0]?.offset ?? 0
  return new MoverError(
    'AUDIT_MISMATCH',
    `the change tracker lied: ${lies.length} of ${audited} audited slots that it called clean differ from the parent, the first at byte ${first}`,
    {
      stage: 'audit',
      offset: first,
      remedy:
        'back up again without --changes (a rescan reads everything), then start tracking anew; ' +
        (suspects.length === 0
          ? 'the parent itself was read in full and holds'
          : `these manifests were made from the same tracking and may miss changes: ${suspects.join(', ')}`),
      details: { slots: lies.slice(0, 1024), slotsInAll: lies.length, extents, suspects },
    },
  )
}
