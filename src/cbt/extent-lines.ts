import type { ExtentState, StatedExtent } from '../core/extent.js'
import { extentOf, isStatement, malformed } from './statement.js'

/**
 * Yields the extents of our own JSON lines, `{"offset":…,"length":…,"state":…}`, in their order. The
 * last line, `{"end":true,"extents":N}`, must be there and count them, so that a cut file is noticed.
 */
export async function* extentsOfLines(lines: AsyncIterable<unknown>): AsyncGenerator<StatedExtent> {
  let count = 0
  let isEnded = false
  for await (const line of lines) {
    if (isEnded) throw malformed('something follows the line that ends it')
    if (isStatement(line) && line['end'] === true) {
      if (line['extents'] !== count) {
        throw malformed(`its end counts ${String(line['extents'])} extents, but there are ${count}`)
      }
      isEnded = true
    } else {
      count += 1
      yield extentOfLine(line, count)
    }
  }
  if (!isEnded) throw malformed('it is cut: the line {"end":true,"extents":N} is missing')
}

function extentOfLine(line: unknown, number: number): StatedExtent {
  // Keys we do not know could change what the others mean.
  if (!isStatement(line) || Object.keys(line).sort().join() !== 'length,offset,state') {
    throw malformed(`extent ${number} is not {"offset":…,"length":…,"state":…}`)
  }
  return { ...extentOf(line, number), state: line['state'] as ExtentState }
}
