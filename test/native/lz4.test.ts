import t from 'tap'
import { decodeLz4Block, encodeLz4Block } from '../../src/native/lz4.js'
import { randomBytes, randomInteger, seededRandom } from '../support/random.js'

/** 'a' × 21 as the LZ4 block format describes it: one literal, a match of 15 from 1 back, 5 literals. */
const BY_HAND = Uint8Array.from([0x1b, 0x61, 0x01, 0x00, 0x50, 0x61, 0x61, 0x61, 0x61, 0x61])

t.test('decodes a block written by hand', async t => {
  t.equal(Buffer.from(decodeLz4Block(BY_HAND, 21)).toString(), 'a'.repeat(21))
  t.strictSame([...decodeLz4Block(Uint8Array.from([0x10, 7]), 1)], [7])
})

t.test('gives back what was encoded, seed 2', async t => {
  const random = seededRandom(2)
  for (const length of [1, 2, 12, 13, 100, 4096, 65_535, 65_536, 1_000_000, 4 * 1024 * 1024]) {
    const rows = [
      new Uint8Array(length),
      new Uint8Array(length).fill(7),
      randomBytes(random, Math.min(length, 65_536)),
    ]
    for (const plain of rows) {
      const stored = encodeLz4Block(plain)
      t.ok(Buffer.compare(decodeLz4Block(stored, plain.length), plain) === 0, `${length} bytes`)
      const inside = new Uint8Array(stored.length + 7)
      inside.set(stored, 5)
      const view = inside.subarray(5, 5 + stored.length)
      t.ok(
        Buffer.compare(decodeLz4Block(view, plain.length), plain) === 0,
        `${length} bytes in a view`,
      )
    }
  }
})

t.test('another length than the recorded one is refused', async t => {
  for (const plainBytes of [1, 20, 22, 65_536, 4 * 1024 * 1024]) {
    t.throws(
      () => decodeLz4Block(BY_HAND, plainBytes),
      { code: 'CODEC_FAILED' },
      String(plainBytes),
    )
  }
  for (const plainBytes of [0, -1, 4 * 1024 * 1024 + 1, NaN]) {
    t.throws(
      () => decodeLz4Block(BY_HAND, plainBytes),
      { name: 'InvariantError' },
      String(plainBytes),
    )
  }
})

t.test('a cut block, an empty one and one with a tail are refused', async t => {
  for (let length = 0; length < BY_HAND.length; length += 1) {
    t.throws(
      () => decodeLz4Block(BY_HAND.subarray(0, length), 21),
      { code: 'CODEC_FAILED' },
      `${length}`,
    )
  }
  t.throws(() => decodeLz4Block(Buffer.concat([BY_HAND, Buffer.of(0x61)]), 21), {
    code: 'CODEC_FAILED',
  })
  const beforeTheStart = Uint8Array.from([
    0x1b, 0x61, 0x09, 0x00, 0x50, 0x61, 0x61, 0x61, 0x61, 0x61,
  ])
  t.throws(() => decodeLz4Block(beforeTheStart, 21), { code: 'CODEC_FAILED' })
})

t.test('damaged blocks never come out with another length, seed 3', async t => {
  const random = seededRandom(3)
  const plain = Buffer.from(
    Array.from({ length: 500 }, (_, line) => `line ${line % 29}\n`).join(''),
  )
  const stored = encodeLz4Block(plain)
  for (let round = 0; round < 3000; round += 1) {
    const damaged = Uint8Array.from(stored)
    const byte = randomInteger(random, { from: 0, to: damaged.length - 1 })
    damaged[byte] = (damaged[byte] ?? 0) ^ (1 << randomInteger(random, { from: 0, to: 7 }))
    try {
      if (decodeLz4Block(damaged, plain.length).length !== plain.length) t.fail(`round ${round}`)
    } catch (error) {
      if ((error as { code?: string }).code !== 'CODEC_FAILED')
        t.fail(`round ${round}: ${String(error)}`)
    }
  }
})
