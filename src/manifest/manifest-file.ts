/** The bytes of a manifest: one sealed record, named by its digest. `FORMAT.md` describes them. */
import {
  SEALED_BYTES_MAX,
  sealRecord,
  sealedDigest,
  unsealRecord,
} from '../backend/sealed-record.js'
import { digestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import type { Manifest } from '../core/manifest.js'
import { manifestProblem } from './manifest-check.js'

/** A manifest before it is written: its id is the digest of its bytes. */
export type ManifestFields = Omit<Manifest, 'id'>

const MANIFEST = {
  magic: 'MOVRMANI',
  context: 'mover 1 manifest',
  corrupt: 'MANIFEST_CORRUPT',
} as const

/** Nothing larger is read as a manifest. */
export const MANIFEST_BYTES_MAX = SEALED_BYTES_MAX

/** Writes a manifest. Equal fields give equal bytes, in whatever order they were set. */
export function encodeManifest(fields: ManifestFields): Uint8Array {
  const record = inOrder(fields)
  const problem = manifestProblem(record)
  invariant(problem === null, `a manifest is written as it can be read: ${problem}`)
  return sealRecord(MANIFEST, record)
}

/** Reads what `encodeManifest` wrote; `what` names it in messages. Else MANIFEST_CORRUPT. */
export function decodeManifest(bytes: Uint8Array, what = 'the manifest'): Manifest {
  const value = unsealRecord(MANIFEST, bytes, what)
  const problem = manifestProblem(value)
  if (problem !== null) throw new MoverError('MANIFEST_CORRUPT', `${what} is damaged: ${problem}`)
  // Every field was checked by name and type above, and there is no other.
  return { id: digestHex(sealedDigest(bytes)), ...(value as ManifestFields) }
}

/** The order in which fields are written. */
function inOrder(fields: ManifestFields): ManifestFields {
  const { bytes, audit, added, source, tree, tags } = fields
  return {
    format: fields.format,
    repositoryId: fields.repositoryId,
    sessionId: fields.sessionId,
    volume: fields.volume,
    volumeBytes: fields.volumeBytes,
    chunkBytes: fields.chunkBytes,
    tree: { height: tree.height, state: tree.state, top: tree.top },
    root: fields.root,
    sequence: fields.sequence,
    previous: [...fields.previous].sort(),
    parent: fields.parent,
    mode: fields.mode,
    requested: fields.requested,
    reason: fields.reason,
    checkpoint: fields.checkpoint,
    fullyRead: fields.fullyRead,
    createdMs: fields.createdMs,
    writer: fields.writer,
    bytes: {
      volume: bytes.volume,
      read: bytes.read,
      carried: bytes.carried,
      zero: bytes.zero,
      deduplicated: bytes.deduplicated,
      stored: bytes.stored,
      written: bytes.written,
    },
    audit: { slots: audit.slots, bytes: audit.bytes },
    added: { packs: added.packs, bytes: added.bytes },
    source: { kind: source.kind, identity: source.identity },
    tags: Object.fromEntries(Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : 1))),
    set: fields.set === null ? null : { id: fields.set.id, members: fields.set.members },
    attachments: fields.attachments.map(({ name, type, digest, bytes }) => ({
      name,
      type,
      digest,
      bytes,
    })),
    durability: fields.durability,
    degraded: fields.degraded,
    encryption: fields.encryption,
  }
}
