/**
 * The root of a volume, a third time: from FORMAT.md alone, with @napi-rs/blake-hash, sharing no code
 * with mover. For small volumes: all digests are held in memory.
 */
import { open } from 'node:fs/promises'
import { Blake3Hasher, blake3 } from '@napi-rs/blake-hash'

const CHILDREN = 128

/** A child is zero, or has a digest. */
type Child = Buffer | null

/** The root of the volume in a file, in hex. */
export async function rootOfFile(path: string, chunkBytes: number): Promise<string> {
  await using file = await open(path)
  const { size } = await file.stat()
  const slots: Child[] = []
  for (let offset = 0; offset < size; offset += chunkBytes) {
    const plain = Buffer.alloc(Math.min(chunkBytes, size - offset))
    await file.read(plain, 0, plain.length, offset)
    slots.push(plain.every(byte => byte === 0) ? null : Buffer.from(blake3(plain)))
  }
  return rootOf(slots, { volumeBytes: size, chunkBytes })
}

function rootOf(
  slots: readonly Child[],
  { volumeBytes, chunkBytes }: { readonly volumeBytes: number; readonly chunkBytes: number },
): string {
  let children = slots
  let height = 0
  while (children.length > 1 || (height === 0 && children.length > 0)) {
    const pages: Child[] = []
    for (let first = 0; first < children.length; first += CHILDREN) {
      pages.push(pageDigest(children.slice(first, first + CHILDREN), height))
    }
    children = pages
    height += 1
  }
  const [top = null] = children
  const record = Buffer.alloc(48)
  record.writeBigUInt64LE(BigInt(volumeBytes), 0)
  record.writeUInt32LE(chunkBytes, 8)
  record.writeUInt8(height, 12)
  record.writeUInt8(top === null ? 0 : 1, 13)
  top?.copy(record, 16)
  return Blake3Hasher.deriveKey('mover 1 tree root', record).toString('hex')
}

function pageDigest(children: readonly Child[], level: number): Child {
  if (children.every(child => child === null)) return null
  const head = Buffer.alloc(40)
  head.writeUInt8(level, 0)
  head.writeUInt16LE(children.length, 2)
  for (const [position, child] of children.entries()) {
    const byte = 8 + Math.floor(position / 4)
    if (child !== null) head[byte] = (head[byte] ?? 0) + 4 ** (position % 4)
  }
  const digests = children.filter(child => child !== null)
  const page = Buffer.concat([head, ...digests])
  return Buffer.from(Blake3Hasher.deriveKey('mover 1 tree page', page))
}
