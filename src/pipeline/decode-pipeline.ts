import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { native } from '../native/addon.js'
import { PLANNED_ROW_BYTES } from '../native/batch.js'
import type { WorkerPool } from './worker-pool.js'

export interface DecodeOptions extends AbortOptions {
  readonly job: number
  readonly pool: WorkerPool
}

/** What a window of slots came to: rows that could not be found, and rows found but damaged. */
export interface DecodedWindow {
  readonly missing: Uint8Array
  readonly damaged: Uint8Array[]
}

/** Stored bytes in one native call. */
const CALL_BYTES = 128 * 1024 * 1024

/**
 * Decodes one window of wanted rows in pack order, each chunk checked against its digest, and
 * writes it to the job's target. Throws CHUNK_MISSING or CHUNK_CORRUPT at the first bad one,
 * unless the job is tolerant.
 */
export async function decodeWindow(
  wanted: Uint8Array,
  { job, pool, signal }: DecodeOptions,
): Promise<DecodedWindow> {
  const plan = await native(addon => addon.planExtract(job, wanted, 'pack', CALL_BYTES), 'decode')
  const underWay = new Set<Promise<void>>()
  const damaged: Uint8Array[] = []
  const failures: unknown[] = []
  for (const rows of batchesOf(plan)) {
    if (failures.length > 0 || signal?.aborted === true) break
    const run = pool
      .run({ kind: 'extract', job, rows })
      .then(
        bad => {
          if (bad.length > 0) damaged.push(bad)
        },
        (error: unknown) => void failures.push(error),
      )
      .finally(() => underWay.delete(run))
    underWay.add(run)
    if (underWay.size >= pool.parallel * 2) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  if (failures.length > 0) throw failures[0]
  throwIfAborted({ signal })
  return { missing: plan.missing, damaged }
}

/**
 * Yields the rows of each batch, as copies: what is posted to a worker is cloned with all of the
 * buffer that it is a view of.
 */
export function* batchesOf(plan: {
  readonly rows: Uint8Array
  readonly batches: Uint32Array
}): Generator<Uint8Array> {
  for (let batch = 0; batch + 1 < plan.batches.length; batch += 1) {
    const from = plan.batches[batch] ?? 0
    const until = plan.batches[batch + 1] ?? 0
    if (until > from) {
      const rows = plan.rows.subarray(from * PLANNED_ROW_BYTES, until * PLANNED_ROW_BYTES)
      yield new Uint8Array(rows)
    }
  }
}
