import t from 'tap'
import { SEGMENT_BYTES_MAX } from '../../src/core/limits.js'
import {
  planSegmentMerge,
  SEGMENTS_PER_TIER,
  type SegmentSize,
} from '../../src/plan/segment-merge-plan.js'
import { randomInteger, seededRandom } from '../support/random.js'

const HEADER_BYTES = 4096
/** Of an entry: its row, and its share of the page, the fan-out and the filter. */
const ROW_BYTES = 49.6
const ENTRIES_MAX = Math.floor((SEGMENT_BYTES_MAX - HEADER_BYTES) / ROW_BYTES)

function segment(id: string, entries: number): SegmentSize {
  return { id, entries, bytes: Math.ceil(HEADER_BYTES + entries * ROW_BYTES) }
}

function segments(...entries: readonly number[]): SegmentSize[] {
  return entries.map((count, nth) => segment(`s${nth}`, count))
}

function same(entries: number, count: number): SegmentSize[] {
  return segments(...Array.from({ length: count }, () => entries))
}

t.test('the smallest tier that is full is merged, in the order of the ids', async t => {
  const eight = ['s0', 's1', 's2', 's3', 's4', 's5', 's6', 's7']
  const rows: { is: string; held: SegmentSize[]; merges: string[] }[] = [
    { is: 'nothing', held: [], merges: [] },
    { is: 'one less than a tier', held: same(5, SEGMENTS_PER_TIER - 1), merges: [] },
    { is: 'a tier', held: same(5, SEGMENTS_PER_TIER), merges: eight },
    { is: 'a tier, in any order', held: same(5, SEGMENTS_PER_TIER).reverse(), merges: eight },
    { is: 'empty ones', held: same(0, SEGMENTS_PER_TIER), merges: eight },
    { is: 'of two tiers', held: segments(1, 7, 1, 7, 8, 63, 8, 63), merges: [] },
    {
      is: 'two full tiers',
      held: [...same(2, 8), ...same(70, 8).map(({ id }) => segment(`t${id}`, 70))],
      merges: eight,
    },
  ]
  for (const { is, held, merges } of rows) {
    t.strictSame(planSegmentMerge(held, SEGMENT_BYTES_MAX), merges, is)
  }
})

/** Eight segments of 256 MiB were merged into the same eight at every publishing, 2 GiB each time. */
t.test('what is nearly full is left alone, and what is not becomes one segment', async t => {
  t.strictSame(planSegmentMerge(same(ENTRIES_MAX, 8), SEGMENT_BYTES_MAX), [])
  t.strictSame(planSegmentMerge(same(ENTRIES_MAX / 2, 30), SEGMENT_BYTES_MAX), [])
  for (const part of [0.49, 0.46, 0.45, 0.4, 0.3, 0.2]) {
    const entries = Math.floor(ENTRIES_MAX * part)
    const { bytes } = segment('', entries)
    const merged = planSegmentMerge(same(entries, 8), SEGMENT_BYTES_MAX).length
    t.ok(merged * bytes < SEGMENT_BYTES_MAX, `${part}: they fit into one`)
    const isLeft = part > 0.47
    t.ok(isLeft ? merged === 0 : merged >= 2, `${part}: and are fewer then`)
  }
})

/** A merger, and how often the entry in it that was rewritten most has been rewritten. */
interface Rewritten extends SegmentSize {
  readonly rewrites: number
}

const WRITERS = [
  { seed: 1, largest: 3, publishings: 10_000 },
  { seed: 2, largest: 500, publishings: 10_000 },
  { seed: 3, largest: 60_000, publishings: 5_000 },
  { seed: 4, largest: 4_000_000, publishings: 1_000 },
]

for (const { seed, largest, publishings } of WRITERS) {
  t.test(`every entry is rewritten once a tier at most, seed ${seed}`, async t => {
    const random = seededRandom(seed)
    const tiers = Math.ceil(Math.log(ENTRIES_MAX) / Math.log(SEGMENTS_PER_TIER))
    let held: Rewritten[] = []
    let total = 0
    let rewritten = 0
    for (let publishing = 0; publishing < publishings; publishing += 1) {
      const entries = randomInteger(random, { from: 1, to: largest })
      total += entries
      held.push({ ...segment(`${publishing}`, entries), rewrites: 0 })
      const ids = new Set(planSegmentMerge(held, SEGMENT_BYTES_MAX))
      if (ids.size === 0) continue
      const merging = held.filter(({ id }) => ids.has(id))
      const merger = segment(
        `m${publishing}`,
        merging.reduce((sum, { entries }) => sum + entries, 0),
      )
      const rewrites = 1 + Math.max(...merging.map(({ rewrites }) => rewrites))
      rewritten += merger.entries
      if (ids.size < 2) t.fail('a merge makes fewer segments')
      if (merger.bytes > SEGMENT_BYTES_MAX) t.fail('a merge makes one segment')
      if (rewrites > tiers) t.fail(`an entry was rewritten ${rewrites} times`)
      held = [...held.filter(({ id }) => !ids.has(id)), { ...merger, rewrites }]
    }
    t.ok(rewritten <= tiers * total, `${(rewritten / total).toFixed(1)} rewrites an entry`)
    const large = (2.3 * total) / ENTRIES_MAX
    t.ok(held.length <= tiers * SEGMENTS_PER_TIER + large, `${held.length} segments are left`)
  })
}
