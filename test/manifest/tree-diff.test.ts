import t from 'tap'
import { treeDiff } from '../../src/manifest/tree-diff.js'
import type { TreeReader } from '../../src/manifest/tree-reader.js'
import { TreeWriter } from '../../src/manifest/tree-writer.js'
import { gather } from '../support/gather.js'
import { pictureOf } from '../support/picture.js'
import { randomInteger, seededRandom } from '../support/random.js'
import { MemoryPages, geometryOf, growTree, readerOf, rowFor } from '../support/trees.js'
import type { Content } from '../support/trees.js'

async function treeOf(contents: readonly Content[], shortBy = 0): Promise<TreeReader> {
  const store = new MemoryPages()
  const geometry = geometryOf(contents.length, shortBy)
  return readerOf(geometry, await growTree(geometry, { contents, store }), store)
}

/** Slots of a picture: a letter is a chunk, a dot is zero. */
const drawn = (picture: string): Content[] =>
  [...picture].map(letter => (letter === '.' ? 0 : letter.charCodeAt(0)))

t.test('slots differ where their content, their length or their being there does', async t => {
  const rows = [
    { a: '', b: '', diff: '' },
    { a: 'abc.', b: 'abc.', diff: '....' },
    { a: 'abc.', b: 'a.cd', diff: '.#.#' },
    { a: '....', b: 'aaaa', diff: '####' },
    { a: 'ab', b: 'abcd', diff: '..##' },
    { a: 'ab', b: 'ab..', diff: '..##' },
    { a: '', b: '..', diff: '##' },
    { a: 'abcd', b: 'abcd', shortBy: 1, diff: '...#' },
    { a: '....', b: '....', shortBy: 1, diff: '...#' },
    { a: 'ab..', b: 'ab', shortBy: 512, diff: '.###' },
  ]
  for (const { a, b, shortBy = 0, diff } of rows) {
    const [left, right] = [await treeOf(drawn(a)), await treeOf(drawn(b), shortBy)]
    t.equal(pictureOf(await gather(treeDiff(left, right)), diff.length), diff, `${a} ${b}`)
    t.equal(pictureOf(await gather(treeDiff(right, left)), diff.length), diff, `${b} ${a}`)
  }
})

t.test(
  'the difference is that of the arrays, in maximal runs, for volumes of any two sizes',
  async t => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const random = seededRandom(seed)
      const contents = (): Content[] => {
        const slots = randomInteger(random, { from: 0, to: random() < 0.5 ? 300 : 20_000 })
        return Array.from({ length: slots }, (_, slot) => Math.floor(slot / 512) % 3)
      }
      const [a, b] = [contents(), contents()]
      for (let change = 0; change < 5; change += 1) b[Math.floor(random() * b.length)] = change
      const slots = Math.max(a.length, b.length)
      const runs = await gather(treeDiff(await treeOf(a), await treeOf(b)))
      const expected = Array.from({ length: slots }, (_, slot) => (a[slot] === b[slot] ? '.' : '#'))
      t.equal(pictureOf(runs, slots), expected.join(''), `${a.length} ${b.length}, seed ${seed}`)
      const joined = expected.join('').match(/#+/g)?.length ?? 0
      t.equal(runs.length, joined, `runs are maximal, seed ${seed}`)
    }
  },
)

t.test('comparing huge volumes reads only the way to where they differ', async t => {
  const slots = 2 ** 38
  const geometry = geometryOf(slots)
  const store = new MemoryPages()
  const holding = async (...places: number[]): Promise<TreeReader> => {
    const writer = new TreeWriter({ geometry, store, parent: null })
    let next = 0
    for (const place of [...places, slots]) {
      await writer.zeroSlots(next, place - next)
      if (place < slots) await writer.putSlots(place, 1, rowFor(1))
      next = place + 1
    }
    return readerOf(geometry, await writer.finish(), store)
  }
  const a = await holding(3, 2 ** 30, 2 ** 37)
  const b = await holding(3, 2 ** 37)
  store.recount()
  t.strictSame(await gather(treeDiff(a, b)), [{ first: 2 ** 30, count: 1 }])
  t.ok(store.read <= 12, `${store.read} pages were read`)
  store.recount()
  t.strictSame(await gather(treeDiff(a, a)), [])
  t.equal(store.read, 0)
})

t.test('volumes of different chunk sizes cannot be compared', async t => {
  const a = await treeOf([1])
  const geometry = { volumeBytes: 32_768, chunkBytes: 32_768 }
  const store = new MemoryPages()
  const b = readerOf(geometry, await growTree(geometry, { contents: [1], store }), store)
  await t.rejects(gather(treeDiff(a, b)), { code: 'ARGUMENT_INVALID' })
})
