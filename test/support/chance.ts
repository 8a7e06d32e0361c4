/** What arithmetic promises of samples, for tests that hold measured rates against it. */

/** The chance that a sample without replacement has none of the lies in its population. */
export function missChance(sample: {
  readonly population: number
  readonly lies: number
  readonly sampled: number
}): number {
  const { population, lies, sampled } = sample
  let miss = 1
  for (let lie = 0; lie < lies; lie += 1) miss *= (population - sampled - lie) / (population - lie)
  return Math.max(miss, 0)
}

/** Between which counts the misses of a fair series lie: on either side it leaves them with `doubt` at most. */
export function missBounds(series: {
  readonly trials: number
  readonly miss: number
  readonly doubt: number
}): { readonly least: number; readonly most: number } {
  const { trials, doubt } = series
  const chances = Array.from({ length: trials + 1 }, (_, misses) => chanceOf(misses, series))
  return {
    least: countWithin(chances, doubt),
    most: trials - countWithin(chances.reverse(), doubt),
  }
}

/** How many of the first chances are, together, no more than `doubt`. */
function countWithin(chances: readonly number[], doubt: number): number {
  let sum = 0
  const end = chances.findIndex(chance => (sum += chance) > doubt)
  return Math.max(end, 0)
}

/** The binomial distribution, by logarithms: chances may be as small as 10^-300. */
function chanceOf(
  misses: number,
  { trials, miss }: { readonly trials: number; readonly miss: number },
): number {
  let logarithm = (trials - misses) * Math.log1p(-miss)
  if (misses > 0) logarithm += misses * Math.log(miss)
  for (let each = 1; each <= misses; each += 1) {
    logarithm += Math.log((trials - misses + each) / each)
  }
  return Math.exp(logarithm)
}
