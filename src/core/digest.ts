import { MoverError } from './errors.js'
import { invariant } from './invariant.js'

/** Bytes in a digest; a digest is a `Uint8Array` of this length. */
export const DIGEST_BYTES = 32

/** Writes a digest as 64 lower-case hex digits. */
export function digestHex(digest: Uint8Array): string {
  invariant(digest.length === DIGEST_BYTES, 'a digest has 32 bytes')
  return Buffer.from(digest.buffer, digest.byteOffset, DIGEST_BYTES).toString('hex')
}

/** Whether `text` is a digest in the one spelling we write: 64 lower-case hex digits. */
export function isDigestHex(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text)
}

/** Reads what `digestHex` wrote; anything else is `ARGUMENT_INVALID`. */
export function parseDigestHex(hex: string): Uint8Array {
  if (!isDigestHex(hex)) {
    throw new MoverError('ARGUMENT_INVALID', `'${hex}' is not a digest of 64 lower-case hex digits`)
  }
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

/** Whether two digests are the same. */
export function digestsEqual(a: Uint8Array, b: Uint8Array): boolean {
  invariant(a.length === DIGEST_BYTES && b.length === DIGEST_BYTES, 'a digest has 32 bytes')
  return Buffer.compare(a, b) === 0
}
