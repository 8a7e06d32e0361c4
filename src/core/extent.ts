/** Bytes `offset` up to, not including, `offset + length` of a volume. */
export interface Extent {
  readonly offset: number
  readonly length: number
}

/**
 * What a source says of an extent. In a change map: `data` and `unknown` may have changed, `zero` has
 * changed and is said to be zero, `clean` has not changed. In an allocation map there is no `clean`,
 * and `zero` is a hole.
 */
export type ExtentState = 'data' | 'zero' | 'clean' | 'unknown'

/** An extent and what its source says of it. */
export interface StatedExtent extends Extent {
  readonly state: ExtentState
}

/** Offset of the first byte behind the extent. */
export function extentEnd({ offset, length }: Extent): number {
  return offset + length
}
