/** LZ4 blocks as a second implementation beside the native one; the only importer of lz4-napi. */
import { compressSync, uncompressSync } from 'lz4-napi'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { CHUNK_BYTES_MAX } from '../core/limits.js'

/** Length of what lz4-napi puts before a block: the plain length, little-endian. */
const PREFIX_BYTES = 4

/** Decodes one LZ4 block to exactly `plainBytes`; anything else is `CODEC_FAILED`. */
export function decodeLz4Block(stored: Uint8Array, plainBytes: number): Uint8Array {
  invariant(plainBytes > 0 && plainBytes <= CHUNK_BYTES_MAX, 'plain bytes are bounded')
  const prefixed = Buffer.alloc(PREFIX_BYTES + stored.length)
  prefixed.writeUInt32LE(plainBytes)
  prefixed.set(stored, PREFIX_BYTES)
  const plain = uncompress(prefixed)
  // The prefix bounds what is written; a block that ends sooner comes out shorter.
  if (plain.length !== plainBytes) {
    throw failed(`an LZ4 block holds ${plain.length} bytes instead of ${plainBytes}`)
  }
  return plain
}

/** Encodes `plain` as one LZ4 block without a header. */
export function encodeLz4Block(plain: Uint8Array): Uint8Array {
  return compressSync(Buffer.from(plain)).subarray(PREFIX_BYTES)
}

function uncompress(prefixed: Uint8Array): Uint8Array {
  try {
    return uncompressSync(prefixed)
  } catch (cause) {
    throw failed('an LZ4 block cannot be decoded', cause)
  }
}

function failed(message: string, cause?: unknown): MoverError {
  return new MoverError('CODEC_FAILED', message, { stage: 'decode', cause })
}
