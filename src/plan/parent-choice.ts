import type { Geometry } from '../core/chunk.js'
import { MoverError } from '../core/errors.js'
import { newestFullyRead, type BackupMode, type Manifest } from '../core/manifest.js'
import { manifestAtCheckpoint, newestManifest } from '../cbt/checkpoint.js'
import type { Health } from '../cbt/health.js'

/** What is known when a parent is chosen. */
export interface ParentQuestion {
  readonly repositoryId: string
  readonly volume: string
  readonly geometry: Geometry
  /** In any order; those of other volumes and repositories are passed over. */
  readonly manifests: readonly Manifest[]
  /** Whether a full backup was asked for: then there is no parent, and a change map is not looked at. */
  readonly full: boolean
  /** The parent that was named, resolved; null when none was. */
  readonly named: NamedParent | null
  /** The change map at hand and what it counts from; null when there is none. */
  readonly changes: { readonly since: string | null } | null
  /** Ids of manifests; no change map is believed that counts from one, or from what was tracked since. */
  readonly doubts: ReadonlySet<string>
}

/** A manifest, and the reference by which the caller named it. */
export interface NamedParent {
  readonly reference: string
  readonly manifest: Manifest
}

/** On what a backup builds, and how far that differs from what was asked for. */
export interface ParentChoice {
  readonly parent: Manifest | null
  readonly mode: BackupMode
  readonly requested: BackupMode
  /** Why `mode` is not `requested`: a doubt, or the reason a tracker gave; null where it is. */
  readonly reason: string | null
  /**
   * Whether the change map is believed. One that is not should still be asked and read to its end,
   * unless `requested` is full: nonsense is refused whether or not it would have been used.
   */
  readonly useChanges: boolean
}

/** What keeps a backup from building on a parent, or a change map from being believed. */
export type Doubt = 'no-parent' | 'chunk-size' | 'resized' | 'lineage' | 'tracker-lied'

/**
 * Chooses the parent before the change map is asked. A map is believed only where the parent is
 * pinned to what the map counts from, and has the volume's size. Throws ARGUMENT_INVALID for a full
 * backup with a parent, CHANGES_UNPINNED, and PARENT_UNUSABLE for a named parent that is degraded or
 * belongs elsewhere.
 */
export function chooseParent(question: ParentQuestion): ParentChoice {
  const { full, named, changes } = question
  if (full) {
    if (named !== null) throw new MoverError('ARGUMENT_INVALID', 'a full backup has no parent')
    return { parent: null, mode: 'full', requested: 'full', reason: null, useChanges: false }
  }
  if (named !== null) checkUsable(named.manifest, question)
  if (changes === null) return judge(question, chooseForRescan(question))
  if (changes.since === null) return judge(question, chooseByName(question))
  return judge(question, chooseByCheckpoint(question, changes.since))
}

/**
 * The choice once the change map has answered: lost tracking costs this backup a rescan, and nothing
 * else.
 */
export function withHealth(choice: ParentChoice, health: Health): ParentChoice {
  if (!choice.useChanges || health.kind !== 'lost') return choice
  // A manifest records it: whatever a tracker has to say of itself, a line of it will do.
  const reason = [...health.reason.replace(/\p{Surrogate}/gu, '')].slice(0, 60).join('') || 'lost'
  return { ...choice, mode: 'rescan', reason, useChanges: false }
}

/** The choice once it is known that chunks of the parent are lost: whatever the source has is read. */
export function withLostChunks(choice: ParentChoice): ParentChoice {
  return { ...choice, mode: 'rescan', reason: 'damaged', useChanges: false }
}

/** A parent as it was found: `doubt` says why the change map cannot be believed on top of it. */
interface Candidate {
  readonly parent: Manifest | null
  readonly requested: BackupMode
  readonly doubt: Doubt | null
}

/** Without a change map: whatever is newest saves storing what did not change. */
function chooseForRescan(question: ParentQuestion): Candidate {
  const parent = question.named?.manifest ?? newestManifest(usableManifests(question))
  return { parent, requested: parent === null ? 'full' : 'rescan', doubt: null }
}

/** A map that does not say from where it counts: the caller must say it, by an id. */
function chooseByName(question: ParentQuestion): Candidate {
  const { named } = question
  // 'latest' and 'full' are no pins: another run may have committed since the map was taken.
  if (named === null || !named.manifest.id.startsWith(named.reference)) throw unpinned(named)
  return { parent: named.manifest, requested: kindOn(named.manifest, question), doubt: null }
}

/** A map that counts from a checkpoint: its manifest is the parent, whatever is newest. */
function chooseByCheckpoint(question: ParentQuestion, since: string): Candidate {
  const { named } = question
  if (named !== null) {
    const requested = isFullReference(named.reference)
      ? 'differential'
      : kindOn(named.manifest, question)
    const doubt = named.manifest.checkpoint === since ? null : 'lineage'
    return { parent: named.manifest, requested, doubt }
  }
  const usable = usableManifests(question)
  const atCheckpoint = manifestAtCheckpoint(usable, since)
  const parent = atCheckpoint ?? newestManifest(usable)
  if (atCheckpoint === null) return { parent, requested: 'incremental', doubt: 'lineage' }
  return { parent, requested: kindOn(atCheckpoint, question), doubt: null }
}

/** Holds the candidate against the volume as it is now. */
function judge({ geometry, changes, doubts }: ParentQuestion, candidate: Candidate): ParentChoice {
  const { parent, requested } = candidate
  if (parent === null) return fullFor('no-parent', requested)
  // Slots of another size have no counterpart: nothing of the parent can be carried or compared.
  if (parent.chunkBytes !== geometry.chunkBytes) return fullFor('chunk-size', requested)
  const doubt =
    candidate.doubt ?? (changes === null ? null : doubtOfMap(parent, { geometry, doubts }))
  if (doubt !== null) {
    return { parent, mode: 'rescan', requested, reason: doubt, useChanges: false }
  }
  return { parent, mode: requested, requested, reason: null, useChanges: changes !== null }
}

/** Why no change map on top of this parent is believed. */
function doubtOfMap(
  parent: Manifest,
  { geometry, doubts }: Pick<ParentQuestion, 'geometry' | 'doubts'>,
): Doubt | null {
  if (parent.volumeBytes !== geometry.volumeBytes) return 'resized'
  return doubts.has(newestFullyRead(parent)) ? 'tracker-lied' : null
}

function fullFor(reason: Doubt, requested: BackupMode): ParentChoice {
  const why = requested === 'full' ? null : reason
  return { parent: null, mode: 'full', requested, reason: why, useChanges: false }
}

/** On the newest manifest a backup is incremental, on the newest full one that is older, differential. */
function kindOn(parent: Manifest, question: ParentQuestion): BackupMode {
  const usable = usableManifests(question)
  const newestFull = newestManifest(usable.filter(({ mode }) => mode === 'full'))
  const isDifferential = parent.id === newestFull?.id && parent.id !== newestManifest(usable)?.id
  return isDifferential ? 'differential' : 'incremental'
}

function isFullReference(reference: string): boolean {
  return reference === 'full' || reference.endsWith('@full')
}

function usableManifests(question: ParentQuestion): Manifest[] {
  return question.manifests.filter(manifest => whyUnusable(manifest, question) === null)
}

function checkUsable(manifest: Manifest, question: ParentQuestion): void {
  const why = whyUnusable(manifest, question)
  if (why === null) return
  throw new MoverError('PARENT_UNUSABLE', `manifest ${manifest.id} ${why}`, {
    stage: 'plan',
    remedy: 'name another parent, or make a full backup',
  })
}

function whyUnusable(manifest: Manifest, { repositoryId, volume }: ParentQuestion): string | null {
  if (isDegraded(manifest)) return 'is degraded'
  if (manifest.repositoryId !== repositoryId) return 'belongs to another repository'
  if (manifest.volume !== volume) return `is of volume '${manifest.volume}', not of '${volume}'`
  return null
}

/** Never in this version; a later one may record what it could not read. */
function isDegraded({ degraded }: { readonly degraded: boolean }): boolean {
  return degraded
}

function unpinned(named: NamedParent | null): MoverError {
  const parent =
    named === null ? 'no parent is named' : `'${named.reference}' may have moved on since`
  return new MoverError('CHANGES_UNPINNED', `the change map is not pinned to a state: ${parent}`, {
    stage: 'plan',
    remedy:
      'say what the map counts from: since=CHECKPOINT, as it was given with --checkpoint, or the id ' +
      'of the parent; for the first backup of a volume, a full one without a change map',
  })
}
