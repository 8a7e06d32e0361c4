import type { StatedExtent } from '../core/extent.js'
import { extentOf, malformed, type ReadStatement } from './statement.js'

/**
 * Reads an element of what `rbd diff --format json` prints, where `exists` is a string. A hole has
 * changed as much as data has: it is `zero`, never `clean`.
 */
export const rbdExtent: ReadStatement = (element, number) => {
  const { exists } = element
  if (exists === 'true' || exists === true) return { ...extentOf(element, number), state: 'data' }
  if (exists === 'false' || exists === false) return { ...extentOf(element, number), state: 'zero' }
  throw malformed(`element ${number} has "exists" neither true nor false`)
}

/**
 * Yields the extents, each cut at the end of the volume: rbd rounds up to whole objects. One that
 * begins behind the end is left as it is, and refused with all that does not fit.
 */
export async function* cutAtEnd(
  extents: AsyncIterable<StatedExtent>,
  volumeBytes: number,
): AsyncGenerator<StatedExtent> {
  for await (const extent of extents) {
    const room = volumeBytes - extent.offset
    yield room > 0 && extent.length > room ? { ...extent, length: room } : extent
  }
}
