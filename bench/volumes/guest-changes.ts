import { GRANULARITY_BYTES, pickGranules, type Granules } from './changed-volume.js'
import { dataGranules } from './mixed-volume.js'

/** What a guest does to its disk between two backups. */
export interface GuestChanges extends Granules {
  /** Granules of data that become zero, one behind the other. */
  readonly zeroed: { readonly first: number; readonly count: number }
}

export interface ChangesWanted {
  /** How many times there is a backup after it. */
  readonly times: number
  readonly writtenBytes: number
  readonly zeroedBytes: number
}

/** Other changes each time: scattered writes, and a stretch of data that is zeroed and left so. */
export function guestChanges(
  volume: string,
  { times, writtenBytes, zeroedBytes }: ChangesWanted,
): GuestChanges[] {
  const count = zeroedBytes / GRANULARITY_BYTES
  const data = dataGranules(volume, GRANULARITY_BYTES)
  const stretches = stretchesOf(data, count)
  if (stretches.length < times) throw new Error(`no ${times} stretches of data in ${volume}`)
  const apart = Math.floor(stretches.length / times)
  const zeroed = Array.from({ length: times }, (_, time) => ({
    first: stretches[time * apart] ?? NaN,
    count,
  }))
  const others = data.filter(
    granule => !zeroed.some(({ first }) => granule >= first && granule < first + count),
  )
  return zeroed.map((stretch, time) => ({
    granules: pickGranules(others, writtenBytes / GRANULARITY_BYTES, time + 1),
    // The noise of the volume has the seeds 0, 32, 64 and so on.
    seed: time + 1,
    zeroed: stretch,
  }))
}

/** The first of each `count` ascending numbers that follow one on the other; stretches do not overlap. */
function stretchesOf(numbers: readonly number[], count: number): number[] {
  const firsts: number[] = []
  for (let at = 0; at + count <= numbers.length; at += 1) {
    const [first, last] = [numbers[at] ?? 0, numbers[at + count - 1] ?? 0]
    if (last - first !== count - 1) continue
    firsts.push(first)
    at += count - 1
  }
  return firsts
}
