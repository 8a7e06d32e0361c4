import type { AbortOptions } from '../core/abort.js'
import type { Budgets } from '../core/budgets.js'
import { slotRunBytes, type Geometry, type SlotRun } from '../core/chunk.js'
import type { MoverEvent } from '../core/progress.js'
import { encodeProgress } from '../native/encode-progress.js'
import { encodeRuns, type EncodedRun } from './encode-pipeline.js'
import { startProgressMeter, type MeterReading } from './progress-meter.js'
import { openReadJob } from './read-job.js'
import { openWorkerPool } from './worker-pool.js'

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
    /** Is told how far the reading is; null where somebody else tells. */
    readonly emit: ((event: MoverEvent) => void) | null
  },
): AsyncGenerator<EncodedRun> {
  const { device, geometry, index, budgets, emit, signal } = options
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
  using _meter =
    emit === null ? null : startProgressMeter(() => readingOf(reading.job), { bytesTotal, emit })
  yield* encodeRuns(runs, { job: reading.job, pool, geometry, store: false, bytesTotal, signal })
}

function readingOf(job: number): MeterReading {
  const waits = encodeProgress(job)
  return { bytesDone: waits.read, waits }
}
