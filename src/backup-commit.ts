import type { AuditOutcome } from './backup-audit.js'
import type { BackupContext } from './backup.js'
import type { Geometry } from './core/chunk.js'
import { MoverError } from './core/errors.js'
import { newestFullyRead, type Attachment, type Manifest } from './core/manifest.js'
import type { ByteOutcome } from './core/progress.js'
import { readDoubts } from './manifest/doubts.js'
import { commitManifest, nextLinks, readManifests } from './manifest/manifest-catalog.js'
import type { FinishedTree } from './manifest/tree-writer.js'
import { PROGRAM_VERSION } from './native/program-version.js'
import type { ParentChoice } from './plan/parent-choice.js'
import type { Source } from './source/source.js'
import type { ChunkWriter } from './store/chunk-writer.js'
import { requireFeature } from './store/repository-config.js'
import type { Session } from './store/session.js'

/**
 * Writes the manifest: the commit point. Whatever it names is durable by now. Returns it with the
 * bytes of all objects made, its own included.
 */
export async function commitBackup(parts: {
  readonly source: Source
  readonly geometry: Geometry
  readonly session: Session
  readonly writer: ChunkWriter
  readonly tree: FinishedTree
  readonly bytes: ByteOutcome
  readonly attachments: readonly Attachment[]
  readonly audit: AuditOutcome
  readonly choice: ParentChoice
  readonly context: BackupContext
}): Promise<Manifest & { readonly written: number }> {
  const { source, geometry, session, writer, tree, bytes, attachments, audit, choice, context } =
    parts
  const { repository, volume, set, signal } = context
  await requireFeatures(context, attachments)
  await refuseDoubted(choice, context)
  const { manifests } = await readManifests(repository, volume, { signal })
  const isWhollyRead = choice.mode === 'full' || choice.mode === 'rescan'
  const added = writer.added
  const manifest = await commitManifest(repository.backend, {
    format: 1,
    repositoryId: repository.id,
    sessionId: session.id,
    volume,
    ...geometry,
    tree: { height: tree.height, state: tree.state, top: tree.top },
    root: tree.root,
    ...nextLinks(manifests),
    parent: choice.parent?.id ?? null,
    mode: choice.mode,
    requested: choice.requested,
    reason: choice.reason,
    checkpoint: context.checkpoint,
    fullyRead: isWhollyRead || choice.parent === null ? null : newestFullyRead(choice.parent),
    createdMs: Date.now(),
    writer: PROGRAM_VERSION,
    bytes: { ...bytes, written: added.bytes },
    audit,
    added,
    source: { kind: source.kind, identity: source.identity },
    tags: context.tags,
    set,
    attachments,
    durability: 'synced',
    degraded: false,
    encryption: 'none',
  })
  return { ...manifest.manifest, written: added.bytes + manifest.bytes }
}

/** What another backup's audit caught since this one believed the same tracking counts as much as its own. */
async function refuseDoubted(
  { parent, useChanges }: ParentChoice,
  { repository, signal }: BackupContext,
): Promise<void> {
  if (parent === null || !useChanges) return
  const doubts = await readDoubts(repository, { signal })
  if (!doubts.has(newestFullyRead(parent))) return
  throw new MoverError(
    'AUDIT_MISMATCH',
    'the change tracker lied: another backup that believed it was caught by its audit meanwhile',
    {
      stage: 'commit',
      remedy:
        'back up again: what was tracked since is not believed any more, and all of the volume is read',
    },
  )
}

/** What not every program knows is announced before a manifest has it. */
async function requireFeatures(
  { repository, set }: BackupContext,
  attachments: readonly Attachment[],
): Promise<void> {
  if (set === null && attachments.length === 0) return
  await requireFeature(repository.backend, repository.path, 'machines')
}
