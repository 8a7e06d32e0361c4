import { createCipheriv } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'

const BLOCK_BYTES = 2 ** 20

/** Incompressible bytes in blocks, the same for the same seed on every machine: AES-CTR over zeroes. */
export function* noise(
  seed: number,
  bytes: number,
  blockBytes: number = BLOCK_BYTES,
): Generator<Buffer, undefined> {
  const key = Buffer.alloc(16)
  key.writeUInt32LE(seed)
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  const zeroes = Buffer.alloc(blockBytes)
  for (let left = bytes; left > 0; left -= blockBytes) {
    yield cipher.update(zeroes.subarray(0, Math.min(left, blockBytes)))
  }
}

/** Writes a new file of noise. */
export function writeNoise(path: string, seed: number, bytes: number): void {
  const file = openSync(path, 'wx')
  try {
    for (const block of noise(seed, bytes)) writeSync(file, block)
  } finally {
    closeSync(file)
  }
}
