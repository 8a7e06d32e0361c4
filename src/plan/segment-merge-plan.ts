/** What is known of an index segment when a merge is planned. */
export interface SegmentSize {
  readonly id: string
  readonly entries: number
}

/** So many segments of about one size are merged into one: a look-up then touches few segments. */
export const SEGMENTS_PER_TIER = 8

/**
 * Picks the segments to merge: those of the smallest tier that is full. A tier holds segments
 * whose numbers of entries lie within a factor of eight, so that an entry is rewritten once a
 * tier, and the cost of merging stays logarithmic in the size of the index.
 */
export function planSegmentMerge(segments: readonly SegmentSize[]): readonly string[] {
  const tiers = new Map<number, string[]>()
  for (const { id, entries } of segments) {
    const tier = Math.floor(Math.log2(Math.max(entries, 1)) / 3)
    tiers.set(tier, [...(tiers.get(tier) ?? []), id])
  }
  const full = [...tiers].filter(([, ids]) => ids.length >= SEGMENTS_PER_TIER).map(([tier]) => tier)
  return full.length === 0 ? [] : (tiers.get(Math.min(...full)) ?? [])
}
