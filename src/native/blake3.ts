/** BLAKE3 as a second implementation beside the native one; the only importer of @napi-rs/blake-hash. */
import { Blake3Hasher, blake3 } from '@napi-rs/blake-hash'

/** The digest of `bytes`: 32 bytes that no one else holds. */
export function hashBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(blake3(viewOf(bytes)))
}

/**
 * The digest of `bytes` in derive-key mode. `context` is one of the fixed strings of FORMAT.md: bytes
 * hashed for one purpose never have the digest of the same bytes hashed for another.
 */
export function deriveDigest(context: string, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(Blake3Hasher.deriveKey(context, viewOf(bytes)))
}

/** Name of a tree page: a digest under a key of its own, which no chunk of a guest can have. */
export function pageDigest(bytes: Uint8Array): Uint8Array {
  return deriveDigest('mover 1 tree page', bytes)
}

/** The same bytes, as the type that the package asks for. */
function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
