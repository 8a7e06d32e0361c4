/** What is known of an index segment when a merge is planned. */
export interface SegmentSize {
  readonly id: string
  readonly entries: number
  readonly bytes: number
}

/** So many segments of about one size are merged into one: a look-up then touches few segments. */
export const SEGMENTS_PER_TIER = 8

/** What a merge makes stays this much below the largest segment, so that it surely is one. */
const ROOM = 1 / 16

/**
 * Picks the segments to merge into one: of the smallest tier that is full, as many as one segment
 * holds, the smallest first. A tier holds segments whose numbers of entries lie within a factor of
 * eight. What is longer than half a segment may be stays as it is: any two others fit into one, and
 * where not all of a tier do, their merger is one of those that stay. So an entry is rewritten once
 * a tier, and the cost of merging stays logarithmic in the size of the index.
 *
 * The ids are in order: whoever merges the same segments makes the same bytes.
 */
export function planSegmentMerge(
  segments: readonly SegmentSize[],
  segmentBytesMax: number,
): readonly string[] {
  const mergedBytesMax = Math.floor(segmentBytesMax * (1 - ROOM))
  const tiers = new Map<number, SegmentSize[]>()
  for (const segment of segments) {
    if (segment.bytes > mergedBytesMax / 2) continue
    const tier = Math.floor(Math.log2(Math.max(segment.entries, 1)) / Math.log2(SEGMENTS_PER_TIER))
    tiers.set(tier, [...(tiers.get(tier) ?? []), segment])
  }
  const full = [...tiers.keys()].filter(tier => count(tiers, tier) >= SEGMENTS_PER_TIER)
  if (full.length === 0) return []
  return smallest(tiers.get(Math.min(...full)) ?? [], mergedBytesMax)
}

function count(tiers: ReadonlyMap<number, readonly SegmentSize[]>, tier: number): number {
  return tiers.get(tier)?.length ?? 0
}

/** The ids of the smallest segments that together are no longer than `bytesMax`. */
function smallest(tier: readonly SegmentSize[], bytesMax: number): string[] {
  const picked: string[] = []
  let total = 0
  for (const { id, bytes } of tier.toSorted(bySize)) {
    total += bytes
    if (total > bytesMax) break
    picked.push(id)
  }
  return picked.sort()
}

function bySize(a: SegmentSize, b: SegmentSize): number {
  return a.bytes - b.bytes || (a.id < b.id ? -1 : 1)
}
