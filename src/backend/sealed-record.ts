/**
 * The envelope of config, session and manifest: a small record under a digest that names it.
 * `FORMAT.md` describes its bytes. Later versions keep the envelope, so that an older program can
 * tell a newer record from a damaged one.
 */
import { DIGEST_BYTES, digestsEqual } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import type { MoverErrorCode } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { RECORD_BYTES_MAX } from '../core/limits.js'
import { decodeRecord, encodeRecord } from '../core/record.js'
import { deriveDigest } from '../native/blake3.js'

/** What tells one kind of record from another, and the code of its damage. */
export interface RecordKind {
  /** Eight letters that it begins with. */
  readonly magic: string
  /** Context of the derived key that its digest is made with. */
  readonly context: string
  readonly corrupt: MoverErrorCode
}

const VERSION = 1
const VERSION_AT = 8
const RESERVED_AT = 10
const BODY_BYTES_AT = 12
const ZEROES_AT = 16
const HEADER_BYTES = 32
const SIGNATURE_BYTES_BYTES = 4
const ENVELOPE_BYTES = HEADER_BYTES + DIGEST_BYTES + SIGNATURE_BYTES_BYTES

/** Bytes of the largest sealed record; nothing larger need be read. */
export const SEALED_BYTES_MAX = RECORD_BYTES_MAX + ENVELOPE_BYTES

/** Seals a plain value; the same value, keys in the same order, gives the same bytes. */
export function sealRecord(kind: RecordKind, value: unknown): Uint8Array {
  const body = encodeRecord(value)
  const sealed = Buffer.alloc(ENVELOPE_BYTES + body.length)
  invariant(sealed.write(kind.magic, 'latin1') === VERSION_AT, 'a magic has eight letters')
  sealed.writeUInt16LE(VERSION, VERSION_AT)
  sealed.writeUInt32LE(body.length, BODY_BYTES_AT)
  sealed.set(body, HEADER_BYTES)
  const digestAt = HEADER_BYTES + body.length
  sealed.set(deriveDigest(kind.context, sealed.subarray(0, digestAt)), digestAt)
  return sealed
}

/**
 * Opens what `sealRecord` made. Any other byte is `kind.corrupt`; a whole record of a newer
 * version is REPOSITORY_UNSUPPORTED. `what` names the record in the message.
 */
export function unsealRecord(kind: RecordKind, bytes: Uint8Array, what = 'the record'): unknown {
  const sealed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const damage = damageOf(kind, sealed)
  if (damage !== null) throw new MoverError(kind.corrupt, `${what} ${damage}`)
  const version = sealed.readUInt16LE(VERSION_AT)
  if (version > VERSION) {
    throw new MoverError(
      'REPOSITORY_UNSUPPORTED',
      `${what} has version ${version}, not ${VERSION}`,
      {
        remedy: 'use a mover that is as new as the one that wrote it',
      },
    )
  }
  try {
    return decodeRecord(sealed.subarray(HEADER_BYTES, -DIGEST_BYTES - SIGNATURE_BYTES_BYTES))
  } catch (cause) {
    throw new MoverError(kind.corrupt, `${what} does not decode`, { cause })
  }
}

/** The digest that a sealed record carries and is named by. */
export function sealedDigest(sealed: Uint8Array): Uint8Array {
  const end = sealed.length - SIGNATURE_BYTES_BYTES
  return Uint8Array.from(sealed.subarray(end - DIGEST_BYTES, end))
}

/** What is wrong with the envelope; bounds come first, so that nothing is believed unchecked. */
function damageOf(kind: RecordKind, sealed: Buffer): string | null {
  if (sealed.length < ENVELOPE_BYTES) return `is cut: it has ${sealed.length} bytes`
  if (sealed.length > SEALED_BYTES_MAX) return `is too long: it has ${sealed.length} bytes`
  if (sealed.toString('latin1', 0, VERSION_AT) !== kind.magic) return 'does not begin as one'
  if (sealed.readUInt32LE(BODY_BYTES_AT) !== sealed.length - ENVELOPE_BYTES) {
    return 'is not as long as it says'
  }
  const digestAt = sealed.length - DIGEST_BYTES - SIGNATURE_BYTES_BYTES
  const digest = deriveDigest(kind.context, sealed.subarray(0, digestAt))
  if (!digestsEqual(digest, sealedDigest(sealed))) return 'does not match its digest'
  if (sealed.readUInt16LE(VERSION_AT) > VERSION) return null
  const isPlain =
    sealed.readUInt16LE(VERSION_AT) === VERSION &&
    sealed.readUInt16LE(RESERVED_AT) === 0 &&
    sealed.subarray(ZEROES_AT, HEADER_BYTES).every(byte => byte === 0) &&
    sealed.readUInt32LE(sealed.length - SIGNATURE_BYTES_BYTES) === 0
  return isPlain ? null : 'has bytes where there should be zeroes'
}
