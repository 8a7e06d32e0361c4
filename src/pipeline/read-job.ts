import type { AbortOptions } from '../core/abort.js'
import type { Geometry } from '../core/chunk.js'
import { PACK_BYTES_MIN, PACK_CHUNKS_MIN } from '../core/limits.js'
import { loadAddon, native } from '../native/addon.js'

export interface ReadJobOptions extends AbortOptions {
  /** Native handle of what is read: a source, or a target that is compared. */
  readonly device: number
  readonly index: number
  readonly geometry: Geometry
  readonly bytesInFlight: number
  readonly bytesPerSecond: number
}

/** A native job that only reads and hashes. */
export interface ReadJob extends AsyncDisposable {
  readonly job: number
}

/** Opens a job for audit, comparison and read-back: it can store nothing. */
export function openReadJob(options: ReadJobOptions): ReadJob {
  const { device, index, geometry, bytesInFlight, bytesPerSecond, signal } = options
  const job = native(
    addon =>
      addon.openEncodeJob({
        source: device,
        index,
        chunkBytes: geometry.chunkBytes,
        volumeBytes: geometry.volumeBytes,
        codec: 0,
        level: 0,
        // No pack is made; the native core only holds the number against the size of a chunk.
        packBytes: Math.max(PACK_BYTES_MIN, PACK_CHUNKS_MIN * geometry.chunkBytes),
        packsRoot: '',
        tempPrefix: '',
        repositoryId: Buffer.alloc(16),
        readers: 2,
        writers: 1,
        bytesInFlightMax: bytesInFlight,
        bytesPerSecond,
      }),
    'open',
  )
  // The signal never reaches the pool: a native call ends by itself once it sees the flag.
  const abort = () => {
    loadAddon().cancelJob(job)
  }
  signal?.addEventListener('abort', abort)
  return {
    job,
    async [Symbol.asyncDispose]() {
      signal?.removeEventListener('abort', abort)
      abort()
      await native(addon => addon.closeJob(job), 'read')
    },
  }
}
