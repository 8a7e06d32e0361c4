import type { ProgressEvent } from '../../src/core/progress.js'

/** A progress event of nothing, except for what the test cares about. */
export function progressEvent(fields: Partial<ProgressEvent>): ProgressEvent {
  const bytes = { volume: 0, read: 0, carried: 0, zero: 0, deduplicated: 0, stored: 0, written: 0 }
  return {
    type: 'progress',
    bytesDone: 0,
    bytesTotal: 0,
    bytesPerSecond: 0,
    etaSeconds: null,
    limitedBy: null,
    bytes,
    ...fields,
  }
}
