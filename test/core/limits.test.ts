import t from 'tap'
import { isChunkBytes, isPackBytes } from '../../src/core/limits.js'

const KiB = 1024
const MiB = 1024 * KiB

t.test('chunks are powers of two from 16 KiB to 4 MiB', async t => {
  for (let chunk = 16 * KiB; chunk <= 4 * MiB; chunk *= 2)
    t.equal(isChunkBytes(chunk), true, `${chunk}`)
  const others = [0, 1, 8 * KiB, 16 * KiB - 1, 16 * KiB + 1, 48 * KiB, 4 * MiB - 1, 8 * MiB]
  for (const chunk of [...others, NaN, Infinity, -65_536, 65_536.5]) {
    t.equal(isChunkBytes(chunk), false, `${chunk}`)
  }
})

t.test('packs hold at least four chunks and at most 64 MiB', async t => {
  const rows = [
    { packBytes: 1 * MiB, chunkBytes: 64 * KiB, isPack: true },
    { packBytes: 1 * MiB - 1, chunkBytes: 64 * KiB, isPack: false },
    { packBytes: 16 * MiB, chunkBytes: 4 * MiB, isPack: true },
    { packBytes: 16 * MiB - 1, chunkBytes: 4 * MiB, isPack: false },
    { packBytes: 64 * MiB, chunkBytes: 64 * KiB, isPack: true },
    { packBytes: 64 * MiB + 1, chunkBytes: 64 * KiB, isPack: false },
    { packBytes: 1.5 * MiB + 0.5, chunkBytes: 64 * KiB, isPack: false },
    { packBytes: NaN, chunkBytes: 64 * KiB, isPack: false },
  ]
  for (const { isPack, ...sizes } of rows) t.equal(isPackBytes(sizes), isPack, `${sizes.packBytes}`)
})
