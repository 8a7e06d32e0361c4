import type { ExtentState, StatedExtent } from '../../src/core/extent.js'

/** Writes extents as 'data 4096+512', for tables. */
export async function said(
  extents: Iterable<StatedExtent> | AsyncIterable<StatedExtent>,
): Promise<string[]> {
  const lines: string[] = []
  for await (const { state, offset, length } of extents) lines.push(`${state} ${offset}+${length}`)
  return lines
}

/** Reads extents written as 'data 4096+512'. */
export function stated(...lines: readonly string[]): StatedExtent[] {
  return lines.map(line => {
    const [state, offset, length] = line.split(/[ +]/)
    return { state: state as ExtentState, offset: Number(offset), length: Number(length) }
  })
}
