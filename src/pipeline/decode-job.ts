import type { AbortOptions } from '../core/abort.js'
import type { Geometry } from '../core/chunk.js'
import { loadAddon, native } from '../native/addon.js'

export interface DecodeJobOptions extends AbortOptions {
  /** Native index that finds the chunks. */
  readonly index: number
  readonly packsRoot: string
  /** Native handle of what is written; null decodes and compares only. */
  readonly target: number | null
  readonly geometry: Geometry
  /** Records damage and goes on, and looks at each stored chunk once: for verify. */
  readonly verifies: boolean
  readonly bytesInFlight: number
  readonly bytesPerSecond: number | null
}

/** A native decoding job. */
export interface DecodeJob extends AsyncDisposable {
  readonly job: number
  progress(): DecodeProgress

  /** Makes all that is under way end soon, with CANCELLED. */
  cancel(): void
}

/** Running totals in bytes; waits in nanoseconds. */
export interface DecodeProgress {
  readonly decoded: number
  readonly written: number
  readonly storedRead: number
  readonly readWaitNs: number
  readonly writeWaitNs: number
  readonly rateWaitNs: number
  readonly chunks: number
}

/** Opens a job that decodes chunks, compares their digests and writes them to a target. */
export function openDecodeJob(options: DecodeJobOptions): DecodeJob {
  const { index, packsRoot, target, geometry, verifies, bytesInFlight, bytesPerSecond, signal } =
    options
  const job = native(
    addon =>
      addon.openDecodeJob({
        index,
        target: target ?? -1,
        packsRoot,
        ...geometry,
        tolerant: verifies,
        once: verifies,
        readers: 2,
        writers: 2,
        bytesInFlightMax: bytesInFlight,
        bytesPerSecond: bytesPerSecond ?? 0,
      }),
    'open',
  )
  // The signal never reaches the pool: a native call ends by itself once it sees the flag.
  const abort = () => {
    loadAddon().cancelDecodeJob(job)
  }
  signal?.addEventListener('abort', abort)
  return {
    job,
    progress: () => progressOf(job),
    cancel: abort,
    async [Symbol.asyncDispose]() {
      signal?.removeEventListener('abort', abort)
      abort()
      await native(addon => addon.closeDecodeJob(job), 'decode')
    },
  }
}

function progressOf(job: number): DecodeProgress {
  const counters = native(addon => addon.decodeCounters(job), 'decode')
  const at = (position: number) => counters[position] ?? 0
  return {
    decoded: at(0),
    written: at(1),
    storedRead: at(2),
    readWaitNs: at(3),
    writeWaitNs: at(4),
    rateWaitNs: at(5),
    chunks: at(6),
  }
}
