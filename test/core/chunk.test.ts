import t from 'tap'
import { slotCount, slotExtent, slotRunBytes, slotRunOf } from '../../src/core/chunk.js'
import { randomInteger, seededRandom } from '../support/random.js'

const TiB = 2 ** 40
const LARGEST = Number.MAX_SAFE_INTEGER

t.test('a volume has as many slots as chunks begin on it', async t => {
  const rows = [
    { volumeBytes: 0, chunkBytes: 4, slots: 0 },
    { volumeBytes: 1, chunkBytes: 4, slots: 1 },
    { volumeBytes: 4, chunkBytes: 4, slots: 1 },
    { volumeBytes: 5, chunkBytes: 4, slots: 2 },
    { volumeBytes: 65_536 - 512, chunkBytes: 65_536, slots: 1 },
    { volumeBytes: 65_536 + 512, chunkBytes: 65_536, slots: 2 },
    { volumeBytes: 16 * TiB, chunkBytes: 65_536, slots: 2 ** 28 },
    { volumeBytes: LARGEST, chunkBytes: 16_384, slots: 2 ** 39 },
  ]
  for (const { slots, ...geometry } of rows) t.equal(slotCount(geometry), slots, `${slots} slots`)
})

t.test('only the last slot can be short', async t => {
  const geometry = { volumeBytes: 10, chunkBytes: 4 }
  t.strictSame(slotExtent(geometry, 0), { offset: 0, length: 4 })
  t.strictSame(slotExtent(geometry, 1), { offset: 4, length: 4 })
  t.strictSame(slotExtent(geometry, 2), { offset: 8, length: 2 })
  const largest = { volumeBytes: LARGEST, chunkBytes: 16_384 }
  t.strictSame(slotExtent(largest, 2 ** 39 - 1), { offset: 2 ** 53 - 16_384, length: 16_383 })
  t.throws(() => slotExtent(geometry, 3), { name: 'InvariantError' })
  t.throws(() => slotExtent(geometry, -1), { name: 'InvariantError' })
})

t.test('an extent touches every slot it has a byte in', async t => {
  const geometry = { volumeBytes: 30, chunkBytes: 4 }
  const rows = [
    { extent: [0, 0], run: [0, 0] },
    { extent: [30, 0], run: [7, 0] },
    { extent: [0, 1], run: [0, 1] },
    { extent: [3, 1], run: [0, 1] },
    { extent: [3, 2], run: [0, 2] },
    { extent: [4, 4], run: [1, 1] },
    { extent: [5, 8], run: [1, 3] },
    { extent: [29, 1], run: [7, 1] },
    { extent: [0, 30], run: [0, 8] },
  ]
  for (const { extent, run } of rows) {
    const [offset = 0, length = 0] = extent
    const [first, count] = run
    t.strictSame(slotRunOf(geometry, { offset, length }), { first, count }, extent.join('+'))
  }
  const outside = [
    [-1, 1],
    [31, 0],
    [0, 31],
    [29, 2],
    [0.5, 1],
    [LARGEST, 1],
    [0, -1],
    [NaN, 1],
  ]
  for (const [offset = 0, length = 0] of outside) {
    t.throws(
      () => slotRunOf(geometry, { offset, length }),
      { name: 'InvariantError' },
      `${offset}+${length}`,
    )
  }
})

t.test('the bytes of runs add up to the volume', async t => {
  const random = seededRandom(7)
  for (let round = 0; round < 200; round += 1) {
    const chunkBytes = 2 ** randomInteger(random, { from: 0, to: 22 })
    const geometry = { chunkBytes, volumeBytes: randomInteger(random, { from: 1, to: 2 ** 40 }) }
    const slots = slotCount(geometry)
    const cut = randomInteger(random, { from: 0, to: slots })
    const head = slotRunBytes(geometry, { first: 0, count: cut })
    const tail = slotRunBytes(geometry, { first: cut, count: slots - cut })
    if (head + tail !== geometry.volumeBytes) t.fail(`seed 7, round ${round}: ${head} + ${tail}`)
  }
  t.equal(slotRunBytes({ volumeBytes: 10, chunkBytes: 4 }, { first: 1, count: 2 }), 6)
  t.throws(() => slotRunBytes({ volumeBytes: 10, chunkBytes: 4 }, { first: 1, count: 3 }))
})

t.test('quotients of safe integers are exact, whatever the divisor', async t => {
  const random = seededRandom(11)
  for (let round = 0; round < 2000; round += 1) {
    const volumeBytes = LARGEST - randomInteger(random, { from: 0, to: 5000 })
    const chunkBytes = randomInteger(random, { from: 1, to: 5000 })
    const exact = (BigInt(volumeBytes) + BigInt(chunkBytes) - 1n) / BigInt(chunkBytes)
    if (BigInt(slotCount({ volumeBytes, chunkBytes })) !== exact) {
      t.fail(`seed 11, round ${round}: ${volumeBytes} / ${chunkBytes}`)
    }
  }
})
