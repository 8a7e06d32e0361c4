import type { AbortOptions } from '../core/abort.js'
import { slotRunBytes, type Geometry, type SlotRun } from '../core/chunk.js'
import { encodeRuns, type EncodedRun } from './encode-pipeline.js'
import { openReadJob } from './read-job.js'
import { openWorkerPool } from './worker-pool.js'

/** The budgets of a job. */
export interface Budgets {
  readonly workers: number | null
  readonly bytesPerSecond: number | null
  readonly bytesInFlight: number
}

/**
 * Reads and hashes runs of slots from a device, for audit, comparison and read-back: yields their
 * rows of state and digest in order, and stores nothing.
 */
export async function* readSlots(
  runs: readonly SlotRun[],
  options: AbortOptions & {
    readonly device: number
    readonly geometry: Geometry
    /** Handle of the index. */
    readonly index: number
    readonly budgets: Budgets
  },
): AsyncGenerator<EncodedRun> {
  const { device, geometry, index, budgets, signal } = options
  const bytesTotal = runs.reduce((sum, run) => sum + slotRunBytes(geometry, run), 0)
  await using reading = openReadJob({
    device,
    index,
    geometry,
    bytesInFlight: budgets.bytesInFlight,
    bytesPerSecond: budgets.bytesPerSecond ?? 0,
    signal,
  })
  await using pool = openWorkerPool(bytesTotal, budgets.workers)
  yield* encodeRuns(runs, { job: reading.job, pool, geometry, store: false, bytesTotal, signal })
}
