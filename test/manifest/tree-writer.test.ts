import t from 'tap'
import { slotCount } from '../../src/core/chunk.js'
import type { Geometry } from '../../src/core/chunk.js'
import { digestHex } from '../../src/core/digest.js'
import { MoverError } from '../../src/core/errors.js'
import type { PagesTogether } from '../../src/manifest/page-batch.js'
import type { TreeReader } from '../../src/manifest/tree-reader.js'
import { treeRoot } from '../../src/manifest/tree-shape.js'
import { TreeWriter } from '../../src/manifest/tree-writer.js'
import type { FinishedTree } from '../../src/manifest/tree-writer.js'
import { dataRow } from '../../src/native/slot-rows.js'
import { randomInteger, seededRandom } from '../support/random.js'
import {
  MemoryPages,
  encodePage,
  geometryOf,
  growTree,
  naiveTree,
  readerOf,
  rowFor,
  rowsFor,
} from '../support/trees.js'
import type { Content } from '../support/trees.js'

const SIZES = [0, 1, 2, 127, 128, 129, 1000, 128 * 128, 128 * 128 + 1, 40_000]

t.test('the tree is the one that the format describes', async t => {
  const random = seededRandom(2)
  for (const slots of SIZES) {
    const geometry = geometryOf(
      slots,
      slots === 0 ? 0 : randomInteger(random, { from: 0, to: 16_383 }),
    )
    const contents = patchy(random, slots)
    const tree = await growTree(geometry, { contents, store: new MemoryPages() })
    t.strictSame(tree, naiveTree(geometry, contents), `${slots} slots, seed 2`)
  }
})

t.test('any history of putting, zeroing and carrying has the root of a fresh tree', async t => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = seededRandom(seed)
    const slots = SIZES[seed % SIZES.length] ?? 0
    const store = new MemoryPages()
    let contents = patchy(random, slots)
    const geometry = geometryOf(slots)
    let parent = readerOf(geometry, await growTree(geometry, { contents, store }), store)
    for (let generation = 1; generation <= 3; generation += 1) {
      const { tree, next } = await mutate({ random, contents, parent, store })
      t.strictSame(tree, naiveTree(geometry, next), `${slots} slots, seed ${seed}/${generation}`)
      contents = next
      parent = readerOf(geometry, tree, store)
    }
  }
})

t.test('what a parent of another size has is carried slot for slot', async t => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const random = seededRandom(seed)
    const [was = 0, is = 0] = [pick(random, SIZES), pick(random, SIZES)]
    const store = new MemoryPages()
    const old = patchy(random, was)
    const before = geometryOf(was)
    const parent = readerOf(before, await growTree(before, { contents: old, store }), store)
    const writer = new TreeWriter({ geometry: geometryOf(is), store, parent })
    const common = Math.min(was, is)
    const grown = patchy(random, is - common)
    await writer.carrySlots(0, common)
    await writer.putSlots(common, is - common, rowsFor(grown))
    const expected = naiveTree(geometryOf(is), [...old.slice(0, common), ...grown])
    t.strictSame(await writer.finish(), expected, `${was} to ${is} slots, seed ${seed}`)
  }
})

t.test(
  'a zero volume of 2^38 slots has no page, and one chunk in it costs one a level',
  async t => {
    const slots = 2 ** 38
    const store = new MemoryPages()
    const empty = new TreeWriter({ geometry: geometryOf(slots), store, parent: null })
    await empty.zeroSlots(0, slots)
    t.match(await empty.finish(), { height: 6, state: 'zero', top: null })
    t.equal(store.put, 0)
    const one = new TreeWriter({ geometry: geometryOf(slots), store, parent: null })
    await one.zeroSlots(0, 2 ** 37 + 12_345)
    await one.putSlots(2 ** 37 + 12_345, 1, rowFor(7))
    await one.zeroSlots(2 ** 37 + 12_346, slots - 2 ** 37 - 12_346)
    t.match(await one.finish(), { height: 6, state: 'page' })
    t.equal(store.put, 6)
  },
)

t.test('carrying reads and writes only the way to what changed', async t => {
  const slots = 2 ** 38
  const geometry = geometryOf(slots)
  const store = new MemoryPages()
  const places = [0, 2 ** 30 + 5, slots - 1]
  const first = await holding(places, { geometry, store })
  const parent = (): TreeReader => readerOf(geometry, first, store)

  store.recount()
  const same = new TreeWriter({ geometry, store, parent: parent() })
  await same.carrySlots(0, slots)
  t.equal((await same.finish()).root, first.root)
  t.equal(store.put, 0)

  store.recount()
  const changed = new TreeWriter({ geometry, store, parent: parent() })
  await changed.carrySlots(0, 2 ** 30 + 5)
  await changed.putSlots(2 ** 30 + 5, 1, rowFor(8))
  await changed.carrySlots(2 ** 30 + 6, slots - 2 ** 30 - 6)
  const tree = await changed.finish()
  t.not(tree.root, first.root)
  t.equal(store.put, 6, 'one page a level is written')
  t.ok(store.read <= 3 * 6, `${store.read} pages were read`)
})

t.test(
  '10,000 scattered chunks of 64 KiB in 1 TiB write pages of less than 15 % of their bytes',
  async t => {
    const geometry = { volumeBytes: 2 ** 40, chunkBytes: 65_536 }
    const slots = 2 ** 24
    const store = new MemoryPages()
    const parent = readerOf(geometry, await uniformTree(geometry, store), store)
    store.recount()
    const writer = new TreeWriter({ geometry, store, parent })
    const stride = Math.floor(slots / 10_000)
    let next = 0
    for (let change = 0; change < 10_000; change += 1) {
      await writer.carrySlots(next, change * stride + 3 - next)
      await writer.putSlots(change * stride + 3, 1, rowFor(2 + change))
      next = change * stride + 4
    }
    await writer.carrySlots(next, slots - next)
    await writer.finish()
    t.ok(store.putBytes < 0.15 * 10_000 * 65_536, `${store.putBytes} bytes of pages`)
    t.ok(store.reads < 10_000 / 25, `the parent's pages were asked for in ${store.reads} reads`)
  },
)

t.test('rows may be used again as soon as they were taken', async t => {
  const geometry = geometryOf(300)
  const store = new MemoryPages()
  const contents = Array.from({ length: 300 }, (_, slot) => slot)
  const first = await growTree(geometry, { contents: contents.map(() => 9), store })
  for (const parent of [null, readerOf(geometry, first, store)]) {
    const writer = new TreeWriter({ geometry, store, parent })
    const rows = Buffer.from(rowsFor(contents))
    await writer.putSlots(0, 300, rows)
    rows.fill(0xff)
    t.strictSame(await writer.finish(), naiveTree(geometry, contents))
  }
})

t.test('slots out of order, beyond the volume or missing are a bug of the caller', async t => {
  const open = (): TreeWriter => {
    return new TreeWriter({ geometry: geometryOf(10), store: new MemoryPages(), parent: null })
  }
  const bug = { name: 'InvariantError' }
  await t.rejects(open().zeroSlots(1, 1), bug, 'a gap')
  await t.rejects(open().zeroSlots(0, 11), bug, 'beyond the end')
  await t.rejects(open().putSlots(0, 2, rowFor(1)), bug, 'fewer rows than slots')
  await t.rejects(open().carrySlots(0, 1), bug, 'carried from no parent')
  await t.rejects(open().finish(), bug, 'unfinished')
  const store = new MemoryPages()
  const before = geometryOf(10, 1)
  const first = await growTree(before, { contents: Array(10).fill(1), store })
  const parent = readerOf(before, first, store)
  const grown = new TreeWriter({ geometry: geometryOf(10), store, parent })
  await t.rejects(grown.carrySlots(0, 10), bug, 'a short slot that is longer now')
})

t.test('a store that fails, or disagrees about a digest, fails the tree', async t => {
  const geometry = geometryOf(300)
  const rows = rowsFor(Array<Content>(300).fill(1))
  const full = { putPages: () => Promise.reject(new MoverError('BACKEND_FULL', 'full')) }
  const first = new TreeWriter({ geometry, store: full, parent: null })
  await first.putSlots(0, 300, rows)
  await t.rejects(first.finish(), { code: 'BACKEND_FULL' })
  const wrong = {
    putPages: async ({ lengths }: PagesTogether) => new Uint8Array(lengths.length * 32),
  }
  const second = new TreeWriter({ geometry, store: wrong, parent: null })
  await second.putSlots(0, 300, rows)
  await t.rejects(second.finish(), { name: 'InvariantError' })
})

/** Runs of zero, of one chunk and of many, some of them longer than a page. */
function patchy(random: () => number, slots: number): Content[] {
  const contents: Content[] = []
  while (contents.length < slots) {
    const count = Math.min(slots - contents.length, Math.ceil(random() ** 4 * 1000))
    const kind = randomInteger(random, { from: 0, to: 2 })
    for (let slot = 0; slot < count; slot += 1) {
      contents.push(kind === 2 ? randomInteger(random, { from: 1, to: 99 }) : kind)
    }
  }
  return contents
}

interface Generation {
  readonly random: () => number
  readonly contents: readonly Content[]
  readonly parent: TreeReader
  readonly store: MemoryPages
}

/** One incremental backup: random runs are put, zeroed or carried. */
async function mutate({ random, contents, parent, store }: Generation) {
  const writer = new TreeWriter({ geometry: parent.geometry, store, parent })
  const next: Content[] = []
  while (next.length < contents.length) {
    const first = next.length
    const count = Math.min(contents.length - first, Math.floor(random() ** 5 * 20_000))
    const action = pick(random, ['put', 'zero', 'carry', 'carry'])
    if (action === 'zero') {
      await writer.zeroSlots(first, count)
      next.push(...Array<Content>(count).fill(0))
    } else if (action === 'carry') {
      await writer.carrySlots(first, count)
      next.push(...contents.slice(first, first + count))
    } else {
      const put = patchy(random, count)
      await writer.putSlots(first, count, rowsFor(put))
      next.push(...put)
    }
  }
  return { tree: await writer.finish(), next }
}

/** A tree of zeroes but for these slots. */
async function holding(
  places: readonly number[],
  { geometry, store }: { geometry: Geometry; store: MemoryPages },
) {
  const writer = new TreeWriter({ geometry, store, parent: null })
  let next = 0
  for (const place of places) {
    await writer.zeroSlots(next, place - next)
    await writer.putSlots(place, 1, rowFor(7))
    next = place + 1
  }
  await writer.zeroSlots(next, Math.ceil(geometry.volumeBytes / geometry.chunkBytes) - next)
  return writer.finish()
}

/** A tree whose slots all hold the same chunk: one page a level. */
async function uniformTree(geometry: Geometry, store: MemoryPages): Promise<FinishedTree> {
  let row = rowFor(1)
  let level = 0
  for (let entries = slotCount(geometry); entries > 1; entries = Math.ceil(entries / 128)) {
    const rows = Buffer.concat(Array<Uint8Array>(Math.min(entries, 128)).fill(row))
    const digest = store.add(encodePage({ level, rows }))
    row = dataRow(digest)
    level += 1
  }
  const tree = { height: level, state: 'page' as const, top: digestHex(row.subarray(1)) }
  return { ...tree, root: treeRoot(geometry, tree) }
}

function pick<T>(random: () => number, items: readonly T[]): T {
  return items[Math.floor(random() * items.length)] as T
}
