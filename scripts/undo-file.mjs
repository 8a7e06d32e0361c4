/**
 * Reads the undo file that `debugfs -z` keeps: before debugfs first writes over a block of a volume it
 * saves the block's old content there. The keys of that file therefore say which blocks were written,
 * as told by the writer itself.
 */
import { open } from 'node:fs/promises'
import { ScriptError } from './run.mjs'

const HEADER_BYTES = 512
const MAGIC = 'E2UNDO02'
const KEY_BLOCK_MAGIC = 0xcadecade
const KEY_BLOCK_HEADER_BYTES = 16
const KEY_BYTES = 16

/**
 * Yields every extent of the volume that was written, in the order in which it was first written.
 *
 * @param {string} path
 * @returns {AsyncGenerator<{ offset: number, length: number }>}
 */
export async function* writtenExtents(path) {
  const file = await open(path)
  try {
    const header = await readExactly(file, 0, HEADER_BYTES)
    if (header.toString('latin1', 0, MAGIC.length) !== MAGIC) {
      throw new ScriptError(`${path} is no undo file of e2fsprogs 1.43 or later`)
    }
    let keysLeft = Number(header.readBigUInt64LE(8))
    let block = Number(header.readBigUInt64LE(24))
    const blockBytes = header.readUInt32LE(32)
    const volumeBlockBytes = header.readUInt32LE(36)
    const keysPerBlock = (blockBytes - KEY_BLOCK_HEADER_BYTES) / KEY_BYTES

    // A block of keys is followed by the old content for each of them, and that by the next block of keys.
    while (keysLeft > 0) {
      const keys = await readExactly(file, block * blockBytes, blockBytes)
      if (keys.readUInt32LE(0) !== KEY_BLOCK_MAGIC) {
        throw new ScriptError(`${path} is damaged: no keys in its block ${block}`)
      }
      block += 1
      for (let key = 0; key < keysPerBlock && keysLeft > 0; key++, keysLeft--) {
        const at = KEY_BLOCK_HEADER_BYTES + key * KEY_BYTES
        const length = keys.readUInt32LE(at + 12)
        yield { offset: Number(keys.readBigUInt64LE(at)) * volumeBlockBytes, length }
        block += Math.ceil(length / blockBytes)
      }
    }
  } finally {
    await file.close()
  }
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {number} offset
 * @param {number} length
 */
async function readExactly(file, offset, length) {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset)
  if (bytesRead < length) throw new ScriptError('the undo file ends too early')
  return buffer
}
