import { extentEnd, type StatedExtent } from '../core/extent.js'

/**
 * Yields what any of several answers calls changed, in order; overlapping extents come out as one.
 * Each answer is in order, and names only what it calls changed.
 */
export async function* unionExtents(
  answers: readonly AsyncIterable<StatedExtent>[],
): AsyncGenerator<StatedExtent> {
  const iterators = answers.map(answer => answer[Symbol.asyncIterator]())
  try {
    const heads = await Promise.all(iterators.map(iterator => iterator.next()))
    let pending = null as StatedExtent | null
    for (;;) {
      const first = indexOfFirst(heads.map(({ done, value }) => (done ? null : value.offset)))
      const head = first === null ? null : heads[first]
      if (first === null || head === undefined || head === null || head.done) break
      const extent: StatedExtent = head.value
      if (pending === null) pending = extent
      else if (extent.offset > extentEnd(pending)) {
        yield pending
        pending = extent
      } else {
        const end = Math.max(extentEnd(pending), extentEnd(extent))
        pending = { ...pending, length: end - pending.offset }
      }
      const iterator = iterators[first]
      if (iterator !== undefined) heads[first] = await iterator.next()
    }
    if (pending !== null) yield pending
  } finally {
    for (const iterator of iterators) await iterator.return?.()
  }
}

function indexOfFirst(offsets: readonly (number | null)[]): number | null {
  let first: number | null = null
  for (const [index, offset] of offsets.entries()) {
    if (offset === null) continue
    if (first === null || offset < (offsets[first] ?? Infinity)) first = index
  }
  return first
}
