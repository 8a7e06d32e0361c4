import t from 'tap'
import { PAGE_BYTES_MAX, decodePage } from '../../src/manifest/page-codec.js'
import { hashBytes, pageDigest } from '../../src/native/blake3.js'
import { flipBit } from '../support/flip-bit.js'
import { goldenBytes, matchGolden } from '../support/golden.js'
import { randomInteger, seededRandom } from '../support/random.js'
import { contentsOf, encodePage, rowFor, rowsFor } from '../support/trees.js'

const GOLDEN = { level: 1, rows: rowsFor([0, 7, 0, 0, 9, 0]) }

t.test('a page is written as FORMAT.md says', async t => {
  await matchGolden(t, 'page', encodePage(GOLDEN))
  const page = decodePage(await goldenBytes('page'))
  t.equal(page.level, 1)
  t.strictSame(contentsOf(page.rows), [0, 7, 0, 0, 9, 0])
})

t.test('a page has the digest of no chunk, whatever its bytes', async t => {
  const bytes = encodePage(GOLDEN)
  t.notSame(pageDigest(bytes), hashBytes(bytes))
})

t.test('pages of every size come back', async t => {
  const seed = 1
  const random = seededRandom(seed)
  for (let count = 1; count <= 128; count += 1) {
    const contents = Array.from({ length: count }, () => randomInteger(random, { from: 0, to: 2 }))
    contents[randomInteger(random, { from: 0, to: count - 1 })] = 1
    const bytes = encodePage({ level: count % 6, rows: rowsFor(contents) })
    t.equal(bytes.length, 40 + 32 * contents.filter(content => content !== 0).length)
    const page = decodePage(bytes)
    t.equal(page.level, count % 6)
    t.strictSame(contentsOf(page.rows), contents, `${count} children, seed ${seed}`)
  }
  t.equal(encodePage({ level: 0, rows: rowsFor(Array(128).fill(1)) }).length, PAGE_BYTES_MAX)
})

t.test('a page that cannot be is never written', async t => {
  const rows = {
    'no children': { level: 0, rows: new Uint8Array(0) },
    'too many': { level: 0, rows: rowsFor(Array(129).fill(1)) },
    'half a row': { level: 0, rows: rowFor(1).subarray(1) },
    'all zero': { level: 0, rows: rowsFor([0, 0]) },
    'no such level': { level: 6, rows: rowFor(1) },
  }
  for (const [name, page] of Object.entries(rows)) {
    t.throws(() => encodePage(page), { name: 'InvariantError' }, name)
  }
})

t.test('there is one way to write a page, and every other is refused', async t => {
  const good = Buffer.from(encodePage(GOLDEN))
  const spoiled = (at: number, byte: number): Buffer => {
    const page = Buffer.from(good)
    page[at] = byte
    return page
  }
  const rows = {
    empty: Buffer.alloc(0),
    'cut in the head': good.subarray(0, 39),
    'cut in a digest': good.subarray(0, -1),
    'without its last digest': good.subarray(0, -32),
    'with a byte behind': Buffer.concat([good, Buffer.alloc(1)]),
    'with a digest behind': Buffer.concat([good, Buffer.alloc(32)]),
    'too long': Buffer.alloc(PAGE_BYTES_MAX + 1),
    'no such level': spoiled(0, 6),
    'reserved byte 1': spoiled(1, 1),
    'no children': spoiled(2, 0),
    '129 children': spoiled(2, 129),
    '256 children more': spoiled(3, 1),
    'reserved byte 4': spoiled(4, 1),
    'reserved byte 7': spoiled(7, 128),
    'an unreadable child': spoiled(8, 0b0000_1000),
    'a child of state 3': spoiled(8, 0b0000_1100),
    'a state beyond the children': spoiled(9, 0b0001_0001),
    'a state at the very end': spoiled(39, 0b0100_0000),
    'fewer children than states': spoiled(2, 4),
  }
  for (const [name, bytes] of Object.entries(rows)) {
    t.throws(() => decodePage(bytes), { name: 'RangeError' }, name)
  }
})

t.test('a flipped bit is refused, or another page that is written just so', async t => {
  const good = Buffer.from(encodePage(GOLDEN))
  for (let bit = 0; bit < good.length * 8; bit += 1) {
    const page = flipBit(good, bit)
    try {
      t.strictSame(Buffer.from(encodePage(decodePage(page))), page, `bit ${bit}`)
    } catch (error) {
      t.match(error, { name: 'RangeError' }, `bit ${bit}`)
    }
  }
})
