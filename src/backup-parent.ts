import type { BackupContext } from './backup.js'
import { drainExtents, type StatedExtents } from './cbt/change-map.js'
import type { Geometry } from './core/chunk.js'
import {
  chooseParent,
  withHealth,
  type NamedParent,
  type ParentChoice,
} from './plan/parent-choice.js'
import type { ChangeAnswer } from './source/change-source.js'

/** What a backup builds on, and the change map if it is believed. */
export interface ParentOfBackup extends ParentChoice {
  readonly extents: StatedExtents | null
}

/**
 * Chooses the parent, asks the change source, and says in an event when the backup has to do more
 * than was asked for. Throws what `chooseParent` and the change source throw.
 */
export async function chooseBackupParent(
  geometry: Geometry,
  context: BackupContext,
): Promise<ParentOfBackup> {
  const { repository, volume, changes, signal } = context
  const chosen = chooseParent({
    repositoryId: repository.id,
    volume,
    geometry,
    manifests: await repository.manifests(volume, { signal }),
    full: context.full,
    named: await namedParent(context),
    changes,
  })
  const answer = context.full ? null : await askChanges(chosen, geometry, context)
  const choice = answer === null ? chosen : withHealth(chosen, answer.health)
  if (choice.mode !== choice.requested) announce(choice, context)
  return { ...choice, extents: choice.useChanges ? (answer?.extents ?? null) : null }
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
  { volumeBytes }: Geometry,
  { changes, signal }: BackupContext,
): Promise<ChangeAnswer | null> {
  if (changes === null) return null
  const parentVolumeBytes = parent?.volumeBytes ?? volumeBytes
  const answer = await changes.changed({ volumeBytes, parentVolumeBytes, signal })
  if (!useChanges) await drainExtents(answer.extents)
  return answer
}

const REASONS: Readonly<Record<string, string>> = {
  'no-parent': 'the volume has no backup yet',
  'chunk-size': "the parent's chunks have another size",
  resized: 'the volume was resized, and trackers lie about that',
  lineage: 'no usable backup stands for the checkpoint from which the change map counts',
}

function announce({ mode, requested, reason }: ParentChoice, { emit }: BackupContext): void {
  const why = reason ?? 'unknown'
  const message = `${requested} was asked for, the backup is a ${mode}: ${REASONS[why] ?? why}`
  emit({ type: 'fallback', requested, mode, reason: why, message })
}
