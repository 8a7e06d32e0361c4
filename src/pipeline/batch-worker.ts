import { loadAddon } from '../native/addon.js'
import type { BatchReply, BatchRequest } from '../native/batch.js'

/**
 * Runs in a piscina worker: one blocking native call. Its failure is returned, not thrown, because
 * an error's code would not survive the way between threads.
 */
export function runBatch(request: BatchRequest): BatchReply {
  try {
    if (request.kind === 'ingest') {
      return { bytes: loadAddon().ingest(request.job, request.runs, request.store) }
    }
    return { bytes: loadAddon().extract(request.job, request.rows).damaged }
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) }
  }
}
