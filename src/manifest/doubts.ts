/**
 * What the audit found out about trackers, kept where the next backup sees it. A doubt is about all that was
 * tracked since one manifest of which every slot was read: no change map on top of it is believed any more, and
 * manifests that were made from such maps may miss changes. `FORMAT.md` describes its bytes; its name says it
 * all, so a damaged one counts as well.
 */
import { doubtName, objectId } from '../backend/object-name.js'
import { sealRecord } from '../backend/sealed-record.js'
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { newestFullyRead, type Manifest } from '../core/manifest.js'
import type { WarningEvent } from '../core/progress.js'
import type { ManifestPlace } from './manifest-catalog.js'

/** Ids of manifests: nothing that was tracked since one of these is believed. */
export type Doubts = ReadonlySet<string>

/** What is written of a lie; read by people only. */
export interface DoubtFields {
  readonly volume: string
  /** Id of the manifest of which every slot was read, in hex. */
  readonly fullyRead: string
  /** How many audited slots differed from the parent. */
  readonly slots: number
  readonly createdMs: number
  readonly writer: string
}

const DOUBT = {
  magic: 'MOVRDOUB',
  context: 'mover 1 doubt',
  corrupt: 'MANIFEST_CORRUPT',
} as const

/** The bytes of a doubt. */
export function encodeDoubt(repositoryId: string, fields: DoubtFields): Uint8Array {
  const { volume, fullyRead, slots, createdMs, writer } = fields
  return sealRecord(DOUBT, { repositoryId, volume, fullyRead, slots, createdMs, writer })
}

/** Makes a doubt durable; that it is there already is as good. Throws what the backend throws. */
export async function recordDoubt(
  { id, backend }: ManifestPlace,
  doubt: DoubtFields,
): Promise<void> {
  try {
    await backend.put(doubtName(doubt.fullyRead), encodeDoubt(id, doubt))
  } catch (error) {
    if (!(error instanceof MoverError) || error.code !== 'OBJECT_EXISTS') throw error
  }
}

/** All doubts that a repository has. */
export async function readDoubts(
  { backend }: Pick<ManifestPlace, 'backend'>,
  options?: AbortOptions,
): Promise<Doubts> {
  const doubts = new Set<string>()
  for await (const name of backend.listNames('doubts/', options)) doubts.add(objectId(name))
  return doubts
}

/** Whether the manifest was made from what is doubted; one that was read in full holds. */
export function mayMissChanges({ fullyRead }: Manifest, doubts: Doubts): boolean {
  return fullyRead !== null && doubts.has(fullyRead)
}

/**
 * What whoever looks at manifests, or restores one, is told: one warning for all that may miss changes since
 * the same manifest.
 */
export async function missingChanges(
  repository: Pick<ManifestPlace, 'backend'>,
  manifests: readonly Manifest[],
  options?: AbortOptions,
): Promise<WarningEvent[]> {
  const doubts = await readDoubts(repository, options)
  const groups = new Map<string, Manifest[]>()
  for (const manifest of manifests) {
    if (!mayMissChanges(manifest, doubts)) continue
    const since = newestFullyRead(manifest)
    const group = groups.get(since)
    if (group === undefined) groups.set(since, [manifest])
    else group.push(manifest)
  }
  return [...groups].map(([since, group]) => warningOf(since, group))
}

function warningOf(since: string, group: readonly Manifest[]): WarningEvent {
  const [{ id, volume } = { id: '', volume: '' }] = group
  const which = group.length === 1 ? `manifest ${id}` : `${group.length} manifests`
  const message =
    `${which} of '${volume}' may miss changes: the audit caught the tracking since ${since}; ` +
    'that one holds, and what was read in full after it'
  return { type: 'warning', code: 'MAY_MISS_CHANGES', message }
}
