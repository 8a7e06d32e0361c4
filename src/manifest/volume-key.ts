import { digestHex } from '../core/digest.js'
import { deriveDigest } from '../native/blake3.js'

/** The folder of a volume's manifests, in hex: a digest, because names are data, never paths. */
export function volumeKey(name: string): string {
  return digestHex(deriveDigest('mover 1 volume name', Buffer.from(name, 'utf8')))
}
