import t from 'tap'
import {
  entryCount,
  entrySlots,
  treeHeight,
  treeRoot,
  treeTopProblem,
} from '../../src/manifest/tree-shape.js'
import { geometryOf } from '../support/trees.js'

t.test('a tree is as high as it must be', async t => {
  const rows = [
    [0, 0],
    [1, 1],
    [128, 1],
    [129, 2],
    [128 ** 2, 2],
    [128 ** 2 + 1, 3],
    [128 ** 5, 5],
    [128 ** 5 + 1, 6],
    [2 ** 39, 6],
  ] as const
  for (const [slots, height] of rows) t.equal(treeHeight(slots), height, `${slots} slots`)
})

t.test('the last entry of a level covers what is left', async t => {
  const rows = [
    { slots: 300, level: 0, index: 299, covers: 1, count: 300 },
    { slots: 300, level: 1, index: 1, covers: 128, count: 3 },
    { slots: 300, level: 1, index: 2, covers: 44, count: 3 },
    { slots: 300, level: 1, index: 3, covers: 0, count: 3 },
    { slots: 300, level: 2, index: 0, covers: 300, count: 1 },
    { slots: 2 ** 39, level: 5, index: 15, covers: 2 ** 35, count: 16 },
  ]
  for (const { slots, level, index, covers, count } of rows) {
    t.equal(entrySlots(slots, level, index), covers)
    t.equal(entryCount(slots, level), count)
  }
})

t.test('the root tells size, chunk size, height, state and top apart', async t => {
  const top = 'ab'.repeat(32)
  const geometry = geometryOf(300)
  const roots = [
    treeRoot(geometry, { height: 2, state: 'page', top }),
    treeRoot(geometry, { height: 2, state: 'zero', top: null }),
    treeRoot(geometry, { height: 2, state: 'page', top: 'ac'.repeat(32) }),
    treeRoot(geometry, { height: 3, state: 'page', top }),
    treeRoot(geometryOf(300, 1), { height: 2, state: 'page', top }),
    treeRoot({ ...geometry, chunkBytes: 32_768 }, { height: 2, state: 'page', top }),
  ]
  t.equal(new Set(roots).size, roots.length)
})

t.test('a top that does not fit its volume is told', async t => {
  const top = 'ab'.repeat(32)
  const rows = [
    { slots: 0, tree: { height: 0, state: 'zero', top: null }, fits: true },
    { slots: 0, tree: { height: 0, state: 'page', top }, fits: false },
    { slots: 1, tree: { height: 0, state: 'zero', top: null }, fits: false },
    { slots: 1, tree: { height: 1, state: 'page', top }, fits: true },
    { slots: 1, tree: { height: 1, state: 'page', top: null }, fits: false },
    { slots: 1, tree: { height: 1, state: 'zero', top }, fits: false },
    { slots: 129, tree: { height: 1, state: 'page', top }, fits: false },
    { slots: 129, tree: { height: 3, state: 'page', top }, fits: false },
  ] as const
  for (const { slots, tree, fits } of rows) {
    t.equal(treeTopProblem(geometryOf(slots), tree) === null, fits, `${slots} ${tree.height}`)
  }
})
