import assert from 'node:assert/strict'
import t from 'tap'
import { digestHex } from '../../src/core/digest.js'
import { TreeReader } from '../../src/manifest/tree-reader.js'
import type { PageDamage, SlotsOptions } from '../../src/manifest/tree-reader.js'
import type { FinishedTree } from '../../src/manifest/tree-writer.js'
import { pageDigest } from '../../src/native/blake3.js'
import { flipBit } from '../support/flip-bit.js'
import { gather } from '../support/gather.js'
import { randomInteger, seededRandom } from '../support/random.js'
import {
  MemoryPages,
  contentsOf,
  encodePage,
  geometryOf,
  growTree,
  readerOf,
  rowsFor,
} from '../support/trees.js'
import type { Content } from '../support/trees.js'

/** Mostly zero, with data here and there. */
function sparse(random: () => number, slots: number): Content[] {
  const contents = Array<Content>(slots).fill(0)
  for (let run = 0; run < slots / 500; run += 1) {
    const first = randomInteger(random, { from: 0, to: slots - 1 })
    const count = Math.min(slots - first, randomInteger(random, { from: 1, to: 300 }))
    for (let slot = first; slot < first + count; slot += 1) contents[slot] = (slot % 97) + 1
  }
  return contents
}

async function opened(contents: readonly Content[]) {
  const store = new MemoryPages()
  const geometry = geometryOf(contents.length)
  const tree = await growTree(geometry, { contents, store })
  return { geometry, tree, store, reader: readerOf(geometry, tree, store) }
}

/** The slots walked, as an array over the volume; slots left out are -1. */
async function walked(reader: TreeReader, options: SlotsOptions = {}): Promise<Content[]> {
  const contents = Array<Content>(reader.slotCount).fill(-1)
  let next = options.from ?? 0
  let isOrdered = true
  for await (const { first, count, rows } of reader.slots(options)) {
    isOrdered &&= first >= next && count > 0
    next = first + count
    const found = rows === null ? Array<Content>(count).fill(0) : contentsOf(rows)
    isOrdered &&= found.length === count
    found.forEach((content, position) => (contents[first + position] = content))
  }
  assert.ok(isOrdered, 'runs ascend, and have as many rows as slots')
  return contents
}

/** The first slot of which two volumes say something else; -1 if there is none. */
function firstDifference(a: readonly Content[], b: readonly Content[]): number {
  return a.length === b.length ? a.findIndex((content, slot) => content !== b[slot]) : a.length
}

t.test('all slots come back, and any range of them', async t => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const random = seededRandom(seed)
    const slots = randomInteger(random, { from: 1, to: 40_000 })
    const contents = sparse(random, slots)
    const { reader } = await opened(contents)
    t.equal(firstDifference(await walked(reader), contents), -1, `${slots} slots, seed ${seed}`)
    for (let range = 0; range < 5; range += 1) {
      const from = randomInteger(random, { from: 0, to: slots })
      const to = randomInteger(random, { from, to: slots })
      const expected = contents.map((content, slot) => (slot >= from && slot < to ? content : -1))
      const found = await walked(reader, { from, to })
      t.equal(firstDifference(found, expected), -1, `${from} to ${to}, seed ${seed}`)
    }
  }
})

t.test('an empty volume has no slots, and a range beyond the end is a bug', async t => {
  const { reader } = await opened([])
  t.strictSame(await gather(reader.slots()), [])
  await t.rejects(gather(reader.slots({ to: 1 })), { name: 'InvariantError' })
})

t.test('a hole is one run, however large, and is walked without reading', async t => {
  const slots = 2 ** 38
  const store = new MemoryPages()
  const tree: FinishedTree = { height: 6, state: 'zero', top: null, root: '' }
  const reader = readerOf(geometryOf(slots), tree, store)
  t.strictSame(await gather(reader.slots()), [{ first: 0, count: slots, rows: null }])
  t.equal(store.read, 0)
  t.strictSame(contentsOf(await reader.lookup([0, 2 ** 37, slots - 1])), [0, 0, 0])
  t.equal(store.read, 0)
})

t.test('holes that meet across pages are one run', async t => {
  const contents = [...Array<Content>(1000).fill(0), 5, ...Array<Content>(20_000).fill(0)]
  const { reader } = await opened(contents)
  const runs = await gather(reader.slots())
  t.same(
    runs.filter(({ rows }) => rows === null).map(({ first, count }) => [first, count]),
    [
      [0, 896],
      [1024, 19_977],
    ],
  )
})

t.test('slots are looked up in any number, their pages read together', async t => {
  const random = seededRandom(5)
  const contents = sparse(random, 40_000)
  const { reader, store } = await opened(contents)
  for (const count of [0, 1, 2, 300, 2000]) {
    const slots = Array.from({ length: count }, () =>
      randomInteger(random, { from: 0, to: 39_999 }),
    )
    slots.sort((a, b) => a - b)
    store.recount()
    t.strictSame(
      contentsOf(await reader.lookup(slots)),
      slots.map(slot => contents[slot]),
      `${count}`,
    )
    t.ok(store.reads <= 3 * Math.ceil(count / 256), `${count} slots in ${store.reads} reads`)
  }
})

t.test('pages that many short ranges lie in are read once', async t => {
  const contents = Array.from({ length: 20_000 }, (_, slot) => slot + 1)
  const { reader, store } = await opened(contents)
  for (let slot = 0; slot < 20_000; slot += 10) {
    const [run] = await gather(reader.slots({ from: slot, to: slot + 2 }))
    t.strictSame(contentsOf(run?.rows ?? new Uint8Array()), contents.slice(slot, slot + 2))
  }
  t.equal(store.read, store.pages.size)
})

t.test('entries of every level are what the tree has there', async t => {
  const contents = Array.from({ length: 20_000 }, (_, slot) => slot % 3)
  const { reader, store } = await opened(contents)
  t.strictSame(contentsOf(await reader.entries(0, 256, 128)), contents.slice(256, 384))
  t.strictSame(contentsOf(await reader.entries(0, 19_999, 1)), contents.slice(19_999))
  const [row] = [await reader.entries(1, 2, 1)]
  t.equal(
    digestHex(row.subarray(1)),
    digestHex(pageDigest(encodePage({ level: 0, rows: rowsFor(contents.slice(256, 384)) }))),
  )
  t.same(await reader.entries(3, 0, 1), (await reader.entries(3, 0, 1)).slice())
  store.recount()
  await reader.entries(0, 300, 2)
  t.equal(store.read, 0, 'pages used last are kept')
  await t.rejects(reader.entries(0, 127, 2), { name: 'InvariantError' }, 'entries of two pages')
})

t.test('every damaged page is refused, and its slots alone are lost', async t => {
  const contents = Array.from({ length: 20_000 }, (_, slot) => slot + 1)
  const { geometry, tree, store } = await opened(contents)
  const random = seededRandom(6)
  let lost = 0
  for (const [digest, page] of [...store.pages].filter((_, nth) => nth % 13 === 0 || nth > 156)) {
    const bit = randomInteger(random, { from: 0, to: page.length * 8 - 1 })
    store.pages.set(digest, flipBit(page, bit))
    const reader = readerOf(geometry, tree, store)
    await t.rejects(gather(reader.slots()), { code: 'PAGE_CORRUPT', details: { page: digest } })
    await t.rejects(reader.lookup(contents.map(content => content - 1)), { code: 'PAGE_CORRUPT' })
    const damaged: PageDamage[] = []
    const found = await walked(reader, { onDamage: damage => damaged.push(damage) })
    t.equal(damaged.length, 1)
    const { first = 0, count = 0 } = damaged[0] ?? {}
    t.match(damaged[0], { digest, error: { code: 'PAGE_CORRUPT', offset: first * 16_384 } })
    const expected = contents.map((content, slot) =>
      slot >= first && slot < first + count ? -1 : content,
    )
    t.equal(firstDifference(found, expected), -1, `page ${digest}, seed 6`)
    lost += count
    store.pages.set(digest, page)
  }
  t.ok(lost > 20_000, 'pages of every level were damaged')
})

t.test('a page that cannot be read is damage as well, but cancelling is not', async t => {
  const { geometry, tree, store } = await opened(
    Array.from({ length: 1000 }, (_, slot) => slot + 1),
  )
  const [first = ''] = store.pages.keys()
  store.pages.delete(first)
  const damaged: PageDamage[] = []
  const reader = readerOf(geometry, tree, store)
  await t.rejects(gather(reader.slots()), { code: 'CHUNK_MISSING' })
  await gather(reader.slots({ onDamage: damage => damaged.push(damage) }))
  t.match(damaged, [
    { digest: first, level: 0, first: 0, count: 128, error: { code: 'CHUNK_MISSING' } },
  ])
  const cancelled = Object.assign(new Error('no damage'), { code: 'CANCELLED' })
  const stopped = new TreeReader({ geometry, tree, readPages: () => Promise.reject(cancelled) })
  await t.rejects(gather(stopped.slots({ onDamage: () => t.fail('told as damage') })), cancelled)
})

t.test('a good page in the wrong place is refused', async t => {
  const geometry = geometryOf(300)
  const store = new MemoryPages()
  const leaf = (count: number): Uint8Array =>
    encodePage({ level: 0, rows: rowsFor(Array(count).fill(1)) })
  const place = async (page: Uint8Array): Promise<TreeReader> => {
    store.add(page)
    const top = digestHex(pageDigest(page))
    const tree: FinishedTree = { height: 2, state: 'page', top, root: '' }
    return readerOf(geometry, tree, store)
  }
  const wrongLevel = await place(leaf(3))
  await t.rejects(gather(wrongLevel.slots()), { code: 'PAGE_CORRUPT', message: /level 0/ })
  const wrongCount = await place(encodePage({ level: 1, rows: rowsFor([0, 1]) }))
  await t.rejects(gather(wrongCount.slots()), { code: 'PAGE_CORRUPT', message: /2 children/ })
})
