import type { StatedExtent } from '../core/extent.js'

/**
 * Extents that arrive many at a time and can be taken so: where there are millions, awaiting each of them
 * by itself takes longer than all else. To be read once, in either way.
 */
export class BatchedExtents implements AsyncIterable<StatedExtent> {
  /** The same extents; a batch may be empty. */
  readonly batches: () => AsyncIterable<readonly StatedExtent[]>

  constructor(batches: () => AsyncIterable<readonly StatedExtent[]>) {
    this.batches = batches
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<StatedExtent> {
    for await (const batch of this.batches()) yield* batch
  }
}
