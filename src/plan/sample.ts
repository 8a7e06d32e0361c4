import { invariant } from '../core/invariant.js'

/** What a sample is drawn from. */
export interface SampleSpec {
  /** Ranks 0 up to, not including, `population`. */
  readonly population: number
  /** At most `population`. */
  readonly count: number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/** Ranks that may be held in memory while they are drawn. */
const HELD_MAX = 65_536

/**
 * Yields `count` different ranks in ascending order, every set of that size being as likely as any
 * other. Small samples cost their own size, large ones a pass over the population; neither holds
 * more than 65,536 ranks.
 */
export function* sampleRanks(spec: SampleSpec): Generator<number> {
  const { population, count } = spec
  invariant(count >= 0 && count <= population, 'a sample is no larger than its population')
  if (count > HELD_MAX) yield* passOver(spec)
  else yield* [...drawSet(spec)].sort((a, b) => a - b)
}

/** Floyd's algorithm: a rank already drawn is replaced by the last one that it could have been. */
function drawSet({ population, count, random }: SampleSpec): Set<number> {
  const drawn = new Set<number>()
  for (let last = population - count; last < population; last += 1) {
    const rank = Math.floor(random() * (last + 1))
    drawn.add(drawn.has(rank) ? last : rank)
  }
  return drawn
}

/** Knuth's algorithm S: each rank is taken with the chance of those still wanted among those left. */
function* passOver({ population, count, random }: SampleSpec): Generator<number> {
  let wanted = count
  for (let rank = 0; wanted > 0; rank += 1) {
    if (random() * (population - rank) >= wanted) continue
    wanted -= 1
    yield rank
  }
}
