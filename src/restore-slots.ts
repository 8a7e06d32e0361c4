import { slotRunBytes, type Geometry, type SlotRun } from './core/chunk.js'
import type { Manifest } from './core/manifest.js'
import { native } from './native/addon.js'
import type { SlotRows } from './native/slot-rows.js'
import { openDecodeJob, type DecodeJob } from './pipeline/decode-job.js'
import { decodeWindow } from './pipeline/decode-pipeline.js'
import { startProgressMeter, type MeterReading } from './pipeline/progress-meter.js'
import { eachWindow, type TakenWindow } from './pipeline/slot-window.js'
import { openWorkerPool } from './pipeline/worker-pool.js'
import type { RestoreContext } from './restore.js'
import type { Target } from './target/target.js'

/** Bytes of the volume that were written, that were made or known zero, and of packs that were read. */
export interface RestoredSlots {
  readonly written: number
  readonly zero: number
  readonly read: number
}

/**
 * Writes the wanted slots to the target. A zero slot is written too, unless the target is known
 * to read as zero there.
 */
export async function restoreSlots(parts: {
  readonly manifest: Manifest
  readonly target: Target
  readonly wanted: AsyncIterable<SlotRows>
  /** Slots that are decoded together, while the next ones are looked for. */
  readonly windowSlots: number
  /** For the progress: bytes of the volume that are expected to be wanted, and found as wanted. */
  readonly bytesTotal: number
  readonly unchangedBytes: () => number
  readonly context: RestoreContext
}): Promise<RestoredSlots> {
  const { manifest, target, wanted, windowSlots, bytesTotal, unchangedBytes, context } = parts
  const { repository, signal, emit } = context
  const geometry: Geometry = { volumeBytes: manifest.volumeBytes, chunkBytes: manifest.chunkBytes }
  await using decoding = openDecodeJob({
    index: repository.store.index,
    packsRoot: repository.store.packsRoot,
    target: target.handle,
    geometry,
    verifies: false,
    bytesInFlight: context.bytesInFlight,
    bytesPerSecond: context.bytesPerSecond,
    signal,
  })
  await using pool = openWorkerPool(bytesTotal, context.workers)
  let zeroBytes = 0
  const writeWindow = async ({ wanted, data, zeroes }: TakenWindow) => {
    if (target.readsAsZero) {
      await native(addon => addon.reserveRuns(target.handle, pairsOf(data, geometry)), 'write')
    } else if (zeroes.length > 0) {
      await native(addon => addon.zeroRuns(target.handle, pairsOf(zeroes, geometry)), 'write')
    }
    zeroBytes += zeroes.reduce((sum, run) => sum + slotRunBytes(geometry, run), 0)
    if (wanted.length > 0) await decodeWindow(wanted, { job: decoding.job, pool, signal })
  }

  const reading = () => readingOf(decoding, zeroBytes + unchangedBytes())
  using _meter = startProgressMeter(reading, { bytesTotal, emit })
  await eachWindow(wanted, windowSlots, { work: writeWindow, stop: () => decoding.cancel() })
  const { written, storedRead } = decoding.progress()
  return { written, zero: zeroBytes, read: storedRead }
}

/** Offset and length in bytes of each run. */
function pairsOf(runs: readonly SlotRun[], geometry: Geometry): Float64Array {
  return Float64Array.from(
    runs.flatMap(run => [run.first * geometry.chunkBytes, slotRunBytes(geometry, run)]),
  )
}

function readingOf(decoding: DecodeJob, settledBytes: number): MeterReading {
  const waits = decoding.progress()
  return { bytesDone: waits.written + settledBytes, waits }
}
