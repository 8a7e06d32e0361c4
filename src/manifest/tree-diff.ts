/**
 * In which slots two trees differ. Only subtrees with different digests are walked, so comparing
 * costs what changed, not what the volumes hold.
 */
import { slotRunBytes } from '../core/chunk.js'
import type { SlotRun } from '../core/chunk.js'
import { MoverError } from '../core/errors.js'
import { PAGE_CHILDREN } from '../core/limits.js'
import { ROW_BYTES, rowsOf } from '../native/slot-rows.js'
import type { TreeEntry } from './tree-pages.js'
import type { TreeReader } from './tree-reader.js'
import { entryCount } from './tree-shape.js'

/**
 * Yields the slots that differ, ascending and joined. A slot that only one volume has, or that is
 * longer in one of them, differs. ARGUMENT_INVALID for volumes of different chunk sizes.
 */
export async function* treeDiff(a: TreeReader, b: TreeReader): AsyncGenerator<SlotRun> {
  if (a.geometry.chunkBytes !== b.geometry.chunkBytes) {
    throw new MoverError('ARGUMENT_INVALID', 'volumes of different chunk sizes have no slots alike')
  }
  const comparable = comparableSlots(a, b)
  const end = Math.max(a.slotCount, b.slotCount)
  yield* joinRuns(async function* () {
    if (comparable > 0) yield* commonDiff(a, b, comparable)
    if (comparable < end) yield { first: comparable, count: end - comparable }
  })
}

/** As `treeDiff`, but only slots that `tree` has: where it differs from `other`. */
export async function* slotsDifferingFrom(
  tree: TreeReader,
  other: TreeReader,
): AsyncGenerator<SlotRun> {
  for await (const { first, count } of treeDiff(tree, other)) {
    const end = Math.min(first + count, tree.slotCount)
    if (end > first) yield { first, count: end - first }
  }
}

/** Slots from the first on that are equally long in both; at most one that both have is not. */
function comparableSlots(a: TreeReader, b: TreeReader): number {
  const common = Math.min(a.slotCount, b.slotCount)
  if (common === 0) return 0
  const last = { first: common - 1, count: 1 }
  const isAlike = slotRunBytes(a.geometry, last) === slotRunBytes(b.geometry, last)
  return isAlike ? common : common - 1
}

async function* commonDiff(a: TreeReader, b: TreeReader, slots: number): AsyncGenerator<SlotRun> {
  const level = Math.min(a.tree.height, b.tree.height)
  const rowsA = await a.entries(level, 0, 1)
  const rowsB = await b.entries(level, 0, 1)
  yield* rowsDiff({ level, first: 0, rowsA, rowsB }, { a, b, slots })
}

interface Pair {
  readonly level: number
  readonly first: number
  readonly rowsA: Uint8Array
  readonly rowsB: Uint8Array
}

interface Trees {
  readonly a: TreeReader
  readonly b: TreeReader
  /** Slots beyond these are not looked at. */
  readonly slots: number
}

/** Compares entries of one level, and walks down where they differ: siblings' pages together. */
async function* rowsDiff(pair: Pair, trees: Trees): AsyncGenerator<SlotRun> {
  const { level, first } = pair
  const differing = differingEntries(pair, trees.slots)
  if (level === 0) {
    yield* slotRuns(differing, first)
    return
  }
  const entries = (rows: Uint8Array): TreeEntry[] =>
    differing.map(position => ({ index: first + position, row: rowsOf(rows, position, 1) }))
  const [below, belowB] = await Promise.all([
    trees.a.children(level, entries(pair.rowsA)),
    trees.b.children(level, entries(pair.rowsB)),
  ])
  for (const [nth, rowsA] of below.entries()) {
    const child = (first + (differing[nth] ?? 0)) * PAGE_CHILDREN
    const rowsB = belowB[nth] ?? rowsA
    yield* rowsDiff({ level: level - 1, first: child, rowsA, rowsB }, trees)
  }
}

/** Positions whose rows differ; equal rows mean equal content, whatever they cover. */
function differingEntries({ level, first, rowsA, rowsB }: Pair, slots: number): number[] {
  const a = Buffer.from(rowsA.buffer, rowsA.byteOffset, rowsA.byteLength)
  const shared = Math.min(rowsA.length, rowsB.length) / ROW_BYTES
  const count = Math.min(shared, entryCount(slots, level) - first)
  const differing: number[] = []
  for (let position = 0; position < count; position += 1) {
    const start = position * ROW_BYTES
    const end = start + ROW_BYTES
    if (a.compare(rowsB, start, end, start, end) !== 0) differing.push(position)
  }
  return differing
}

function* slotRuns(positions: readonly number[], first: number): Generator<SlotRun> {
  let start = 0
  for (let end = 1; end <= positions.length; end += 1) {
    const position = positions[start] ?? 0
    if (positions[end] === position + end - start) continue
    yield { first: first + position, count: end - start }
    start = end
  }
}

async function* joinRuns(runs: () => AsyncIterable<SlotRun>): AsyncGenerator<SlotRun> {
  let open: SlotRun | null = null
  for await (const run of runs()) {
    if (open !== null && open.first + open.count === run.first) {
      open = { first: open.first, count: open.count + run.count }
    } else {
      if (open !== null) yield open
      open = run
    }
  }
  if (open !== null) yield open
}
