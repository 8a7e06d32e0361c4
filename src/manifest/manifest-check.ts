/**
 * Whether a decoded record is a manifest. It may come from a stranger: every field is there, has
 * its type, lies within its bounds, and agrees with the others; and there is no other field.
 */
import { slotCount } from '../core/chunk.js'
import {
  ATTACHMENT_BYTES_MAX,
  ATTACHMENT_NAME_BYTES_MAX,
  ATTACHMENTS_MAX,
  CHECKPOINT_BYTES_MAX,
  SET_MEMBERS_MAX,
  TAGS_MAX,
  TAG_NAME_BYTES_MAX,
  TAG_VALUE_BYTES_MAX,
  VOLUME_BYTES_MAX,
  VOLUME_NAME_BYTES_MAX,
  isChunkBytes,
} from '../core/limits.js'
import type { Attachment, BackupSet, Manifest } from '../core/manifest.js'
import { treeRoot, treeTopProblem } from './tree-shape.js'

/** What is wrong with a record that should be a manifest without its id; null where nothing is. */
export function manifestProblem(value: unknown): string | null {
  const unlike = fieldsProblem(value)
  if (unlike !== null) return unlike
  const manifest = value as Omit<Manifest, 'id'>
  const treeProblem = treeTopProblem(manifest, manifest.tree)
  if (treeProblem !== null) return `it has ${treeProblem}`
  if (treeRoot(manifest, manifest.tree) !== manifest.root) return 'its root is not that of its tree'
  const { volume, carried, zero, deduplicated, stored } = manifest.bytes
  if (volume !== manifest.volumeBytes || carried + zero + deduplicated + stored !== volume) {
    return 'its bytes do not add up'
  }
  if (manifest.audit.slots > slotCount(manifest)) return 'it audited more slots than there are'
  return null
}

/** What callers name a backup by. */
export interface ManifestLabels {
  readonly volume: string
  readonly checkpoint: string | null
  readonly tags: Readonly<Record<string, string>>
  readonly set: BackupSet | null
}

/** Why no manifest can carry these; null where one can. */
export function labelsProblem({ volume, checkpoint, tags, set }: ManifestLabels): string | null {
  const { volume: isVolume, checkpoint: isCheckpoint, tags: areTags, set: isSet } = LABELS
  if (!isVolume(volume)) {
    return `the name of a volume is 1 to ${VOLUME_NAME_BYTES_MAX} bytes of UTF-8`
  }
  if (!isCheckpoint(checkpoint)) {
    return `the name of a checkpoint is 1 to ${CHECKPOINT_BYTES_MAX} bytes of UTF-8`
  }
  if (!isSet(set)) return `a set has an id of 32 hex digits and 1 to ${SET_MEMBERS_MAX} members`
  if (areTags(tags)) return null
  return `tags are at most ${TAGS_MAX}, their names 1 to ${TAG_NAME_BYTES_MAX} bytes of UTF-8, their values at most ${TAG_VALUE_BYTES_MAX}`
}

type Check = (value: unknown) => boolean
type Checks = { readonly [field: string]: Check | Checks }

const PREVIOUS_MAX = 4096
const LABEL_BYTES_MAX = 256
const IDENTITY_BYTES_MAX = 4096

const count: Check = value => Number.isSafeInteger(value) && (value as number) >= 0
function isPositive(value: unknown): boolean {
  return count(value) && value !== 0
}
const hex =
  (digits: number): Check =>
  value =>
    typeof value === 'string' && value.length === digits && /^[0-9a-f]*$/.test(value)
const digest = hex(64)
const text =
  (bytesMax: number): Check =>
  value =>
    isText(value) && Buffer.byteLength(value) <= bytesMax
const named =
  (bytesMax: number): Check =>
  value =>
    value !== '' && text(bytesMax)(value)
const orNull =
  (check: Check): Check =>
  value =>
    value === null || check(value)
const only =
  (...values: readonly unknown[]): Check =>
  value =>
    values.includes(value)

const mode = only('full', 'incremental', 'differential', 'rescan')

const LABELS = {
  volume: named(VOLUME_NAME_BYTES_MAX),
  checkpoint: orNull(named(CHECKPOINT_BYTES_MAX)),
  tags: isTags,
  set: orNull(isSet),
} as const satisfies Record<keyof ManifestLabels, Check>

const FIELDS: Checks = {
  format: only(1),
  repositoryId: hex(32),
  sessionId: hex(32),
  ...LABELS,
  volumeBytes: value => count(value) && (value as number) <= VOLUME_BYTES_MAX,
  chunkBytes: value => typeof value === 'number' && isChunkBytes(value),
  tree: { height: count, state: only('zero', 'page'), top: orNull(digest) },
  root: digest,
  sequence: isPositive,
  previous: value => Array.isArray(value) && value.length <= PREVIOUS_MAX && value.every(digest),
  parent: orNull(digest),
  mode,
  requested: mode,
  reason: orNull(named(LABEL_BYTES_MAX)),
  fullyRead: orNull(digest),
  createdMs: count,
  writer: named(LABEL_BYTES_MAX),
  bytes: {
    volume: count,
    read: count,
    carried: count,
    zero: count,
    deduplicated: count,
    stored: count,
    written: count,
  },
  audit: { slots: count, bytes: count },
  added: { packs: count, bytes: count },
  source: { kind: named(LABEL_BYTES_MAX), identity: text(IDENTITY_BYTES_MAX) },
  attachments: areAttachments,
  // Reserved: what comes later says so in the features of the config.
  durability: only('synced'),
  degraded: only(false),
  encryption: only('none'),
}

const fieldsProblem = shapeProblem('it', FIELDS)
const setProblem = shapeProblem('a set', { id: hex(32), members: isPositive })
const attachmentProblem = shapeProblem('an attachment', {
  name: named(ATTACHMENT_NAME_BYTES_MAX),
  type: named(ATTACHMENT_NAME_BYTES_MAX),
  digest,
  bytes: value => count(value) && (value as number) <= ATTACHMENT_BYTES_MAX,
})

/** Made once: manifests are checked by the thousand. */
function shapeProblem(name: string, checks: Checks): (value: unknown) => string | null {
  const fields = Object.entries(checks).map(([field, check]) => ({
    field,
    problem:
      typeof check === 'function'
        ? (value: unknown) => problemOf(field, check(value))
        : shapeProblem(field, check),
  }))
  return value => {
    if (!isMap(value)) return `${name} is not a map`
    const unknown = Object.keys(value).find(field => !Object.hasOwn(checks, field))
    if (unknown !== undefined) return `${name} has a field '${unknown}' that means nothing`
    for (const { field, problem } of fields) {
      const found = problem(value[field])
      if (found !== null) return found
    }
    return null
  }
}

function problemOf(field: string, isValid: boolean): string | null {
  return isValid ? null : `its field '${field}' has another type or is out of bounds`
}

function isTags(value: unknown): boolean {
  if (!isMap(value)) return false
  const tags = Object.entries(value)
  const isTag = ([name, tag]: [string, unknown]): boolean =>
    named(TAG_NAME_BYTES_MAX)(name) && text(TAG_VALUE_BYTES_MAX)(tag)
  return tags.length <= TAGS_MAX && tags.every(isTag)
}

function isSet(value: unknown): boolean {
  return setProblem(value) === null && (value as BackupSet).members <= SET_MEMBERS_MAX
}

/** Names are found by: none is there twice. */
function areAttachments(value: unknown): boolean {
  if (!Array.isArray(value) || value.length > ATTACHMENTS_MAX) return false
  if (!value.every(attachment => attachmentProblem(attachment) === null)) return false
  return new Set(value.map(({ name }: Attachment) => name)).size === value.length
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A string that is the same after it went through UTF-8: no half of a surrogate pair. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && !/\p{Surrogate}/u.test(value)
}
