import t from 'tap'
import { bitmapBytes, DirtyBitmap, dirtyExtents } from '../../src/cbt/dirty-bitmap.js'
import type { Extent } from '../../src/core/extent.js'
import { bitmapOf } from '../support/picture.js'
import { randomBytes, randomInteger, seededRandom } from '../support/random.js'

const pairs = (extents: Iterable<Extent>) =>
  [...extents].map(({ offset, length }) => [offset, length])

t.test('dirty granules come out as extents', async t => {
  const rows = [
    { bitmap: '', volumeBytes: 0, extents: [] },
    { bitmap: '........', volumeBytes: 32, extents: [] },
    {
      bitmap: '.##..#..',
      volumeBytes: 32,
      extents: [
        [4, 8],
        [20, 4],
      ],
    },
    { bitmap: '########', volumeBytes: 32, extents: [[0, 32]] },
    { bitmap: '########', volumeBytes: 30, extents: [[0, 30]] },
    { bitmap: '.......#', volumeBytes: 29, extents: [[28, 1]] },
    { bitmap: '#.......', volumeBytes: 29, extents: [[0, 4]] },
    { bitmap: '......##' + '#.', volumeBytes: 40, extents: [[24, 12]] },
    {
      bitmap: '#........#',
      volumeBytes: 40,
      extents: [
        [0, 4],
        [36, 4],
      ],
    },
    { bitmap: '#', volumeBytes: 1, extents: [[0, 1]] },
  ]
  for (const { bitmap, volumeBytes, extents } of rows) {
    const geometry = { granularityBytes: 4, volumeBytes }
    t.strictSame(
      pairs(dirtyExtents(bitmapOf(bitmap), geometry)),
      extents,
      `${bitmap} ${volumeBytes}`,
    )
  }
})

t.test('bits that fill up the last byte mean nothing', async t => {
  const geometry = { granularityBytes: 4, volumeBytes: 12 }
  t.strictSame(pairs(dirtyExtents(bitmapOf('..######'), geometry)), [[8, 4]])
  t.strictSame(pairs(dirtyExtents(bitmapOf('...#####'), geometry)), [])
})

t.test('a bitmap of another length is our bug', async t => {
  const geometry = { granularityBytes: 4, volumeBytes: 36 }
  t.equal(bitmapBytes(geometry), 2)
  for (const length of [0, 1, 3]) {
    t.throws(() => [...dirtyExtents(new Uint8Array(length), geometry)], { name: 'InvariantError' })
  }
})

t.test('a bitmap of more than 2^31 granules', async t => {
  const geometry = { granularityBytes: 512, volumeBytes: 512 * (2 ** 32 + 9) }
  const bits = new Uint8Array(bitmapBytes(geometry))
  bits[2 ** 29] = 0b110
  t.strictSame(pairs(dirtyExtents(bits, geometry)), [[(2 ** 32 + 1) * 512, 1024]])
})

/** What dirtyExtents promises, one granule after the other. */
function naiveExtents(bits: Uint8Array, volumeBytes: number, granularityBytes: number): number[][] {
  const extents: number[][] = []
  for (let offset = 0; offset < volumeBytes; offset += granularityBytes) {
    const granule = offset / granularityBytes
    if (((bits[granule >> 3] ?? 0) & (1 << (granule & 7))) === 0) continue
    const length = Math.min(granularityBytes, volumeBytes - offset)
    const last = extents.at(-1)
    if (last && (last[0] ?? 0) + (last[1] ?? 0) === offset) last[1] = (last[1] ?? 0) + length
    else extents.push([offset, length])
  }
  return extents
}

for (const seed of [1, 2, 3, 4]) {
  t.test(`agrees with the naive scan at every alignment, seed ${seed}`, async t => {
    const random = seededRandom(seed)
    for (let round = 0; round < 400; round += 1) {
      const granularityBytes = randomInteger(random, { from: 1, to: 9 })
      const volumeBytes = randomInteger(random, { from: 0, to: 3000 })
      const length = bitmapBytes({ granularityBytes, volumeBytes })
      const shift = randomInteger(random, { from: 0, to: 9 })
      const bits = new Uint8Array(length + 16).fill(0xa5).subarray(shift, shift + length)
      const kind = random()
      if (kind < 0.3) bits.set(randomBytes(random, length))
      else if (kind < 0.9) {
        // Long uniform stretches with single odd bytes: where a word at a time can go wrong.
        bits.fill(kind < 0.6 ? 0 : 0xff)
        for (let odd = 0; odd < 4 && length > 0; odd += 1) {
          bits[randomInteger(random, { from: 0, to: length - 1 })] = Math.floor(random() * 256)
        }
      } else bits.forEach((_, byte) => (bits[byte] = random() < 0.5 ? 0 : 0xff))
      const found = pairs(dirtyExtents(bits, { granularityBytes, volumeBytes }))
      const expected = naiveExtents(bits, volumeBytes, granularityBytes)
      if (JSON.stringify(found) !== JSON.stringify(expected)) {
        t.strictSame(found, expected, `round ${round}, shift ${shift}`)
        return
      }
    }
  })
}

t.test('a recorder marks every granule that a write touches', async t => {
  const rows = [
    { writes: [], bitmap: '........' },
    { writes: [[0, 1]], bitmap: '#.......' },
    { writes: [[3, 2]], bitmap: '##......' },
    {
      writes: [
        [4, 4],
        [20, 1],
      ],
      bitmap: '.#...#..',
    },
    { writes: [[5, 0]], bitmap: '........' },
    { writes: [[29, 1]], bitmap: '.......#' },
    { writes: [[0, 30]], bitmap: '########' },
    {
      writes: [
        [4, 8],
        [8, 8],
      ],
      bitmap: '.###....',
    },
  ]
  for (const { writes, bitmap } of rows) {
    const recorder = new DirtyBitmap({ granularityBytes: 4, volumeBytes: 30 })
    for (const [offset = 0, length = 0] of writes) recorder.mark({ offset, length })
    t.strictSame(recorder.bytes(), bitmapOf(bitmap), bitmap)
  }
  const recorder = new DirtyBitmap({ granularityBytes: 4, volumeBytes: 30 })
  for (const [offset = 0, length = 0] of [
    [30, 1],
    [0, 31],
    [-1, 1],
    [0.5, 1],
    [3, -1],
    [NaN, 1],
    [0, NaN],
  ]) {
    t.throws(
      () => recorder.mark({ offset, length }),
      { code: 'ARGUMENT_INVALID' },
      `${offset}+${length}`,
    )
  }
  recorder.bytes().fill(0xff)
  t.strictSame(recorder.bytes(), bitmapOf('........'), 'what is handed out is a copy')
})

t.test('what was recorded is what comes out, seed 9', async t => {
  const random = seededRandom(9)
  const geometry = { granularityBytes: 64, volumeBytes: 10_000 }
  const recorder = new DirtyBitmap(geometry)
  const naive = new Set<number>()
  for (let write = 0; write < 60; write += 1) {
    const offset = randomInteger(random, { from: 0, to: 9_999 })
    const length = Math.min(randomInteger(random, { from: 0, to: 900 }), 10_000 - offset)
    recorder.mark({ offset, length })
    for (let byte = offset; byte < offset + length; byte += 1) naive.add(Math.floor(byte / 64))
    const found = new Set<number>()
    for (const extent of dirtyExtents(recorder.bytes(), geometry)) {
      for (let byte = extent.offset; byte < extent.offset + extent.length; byte += 1) {
        found.add(Math.floor(byte / 64))
      }
    }
    t.strictSame([...found].sort(), [...naive].sort())
  }
})
