import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { slotRunBytes, type Geometry, type SlotRun } from '../core/chunk.js'
import { invariant } from '../core/invariant.js'
import { ROW_BYTES } from '../native/slot-rows.js'
import type { WorkerPool } from './worker-pool.js'

/** A run of slots that was read, with a row of state and digest for each. */
export interface EncodedRun extends SlotRun {
  readonly rows: Uint8Array
}

export interface EncodeOptions extends AbortOptions {
  readonly job: number
  readonly pool: WorkerPool
  readonly geometry: Geometry
  /** False only reads and hashes: for audit, comparison and read-back. */
  readonly store: boolean
  /** Bytes that will be read in all; it sets how much goes into one call. */
  readonly bytesTotal: number
}

const CALL_BYTES_MIN = 8 * 1024 * 1024
const CALL_BYTES_MAX = 256 * 1024 * 1024
/** Runs in one call: scattered change makes calls of many short runs. */
const CALL_RUNS_MAX = 65_536

/**
 * Reads the runs in parallel and yields them in the order they were given. At most two calls a
 * worker are under way or waiting to be consumed, so that a slow consumer holds the readers back.
 */
export async function* encodeRuns(
  runs: Iterable<SlotRun>,
  { job, pool, geometry, store, bytesTotal, signal }: EncodeOptions,
): AsyncGenerator<EncodedRun> {
  const underWay: { runs: SlotRun[]; rows: Promise<Uint8Array> }[] = []
  const callBytes = Math.min(
    Math.max(Math.ceil(bytesTotal / (pool.parallel * 12)), CALL_BYTES_MIN),
    CALL_BYTES_MAX,
  )
  try {
    for (const call of calls(runs, geometry, callBytes)) {
      throwIfAborted({ signal })
      const rows = pool.run({ kind: 'ingest', job, runs: pairsOf(call), store })
      rows.catch(() => {}) // Awaited in its turn below; a failure before that is not unhandled.
      underWay.push({ runs: call, rows })
      if (underWay.length >= pool.parallel * 2) yield* take(underWay)
    }
    while (underWay.length > 0) yield* take(underWay)
  } finally {
    // Native threads use the job until their call returns: nobody may close it before.
    await Promise.allSettled(underWay.map(call => call.rows))
  }
}

async function* take(
  underWay: { runs: SlotRun[]; rows: Promise<Uint8Array> }[],
): AsyncGenerator<EncodedRun> {
  const call = underWay[0]
  invariant(call !== undefined, 'a call is under way')
  const rows = await call.rows
  underWay.shift()
  let position = 0
  for (const { first, count } of call.runs) {
    const end = position + count * ROW_BYTES
    yield { first, count, rows: rows.subarray(position, end) }
    position = end
  }
  invariant(position === rows.length, 'every slot asked for has its row')
}

/** Cuts and gathers runs into calls of about `callBytes`. */
function* calls(
  runs: Iterable<SlotRun>,
  geometry: Geometry,
  callBytes: number,
): Generator<SlotRun[]> {
  const slotsPerCall = Math.max(1, Math.floor(callBytes / geometry.chunkBytes))
  let call: SlotRun[] = []
  let slots = 0
  for (const run of runs) {
    for (let first = run.first; first < run.first + run.count;) {
      const count = Math.min(run.first + run.count - first, slotsPerCall - slots)
      call.push({ first, count })
      invariant(slotRunBytes(geometry, { first, count }) > 0, 'a run lies inside the volume')
      first += count
      slots += count
      if (slots === slotsPerCall || call.length === CALL_RUNS_MAX) {
        yield call
        call = []
        slots = 0
      }
    }
  }
  if (call.length > 0) yield call
}

function pairsOf(runs: readonly SlotRun[]): Float64Array {
  const pairs = new Float64Array(runs.length * 2)
  runs.forEach(({ first, count }, index) => {
    pairs[index * 2] = first
    pairs[index * 2 + 1] = count
  })
  return pairs
}
