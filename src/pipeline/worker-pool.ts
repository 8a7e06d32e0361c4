import { availableParallelism } from 'node:os'
import type { Piscina } from 'piscina'
import { MoverError } from '../core/errors.js'
import { WORKERS_DEFAULT_MAX } from '../core/limits.js'
import { native, toMoverError } from '../native/addon.js'
import type { BatchReply, BatchRequest } from '../native/batch.js'

/** Runs native batches beside each other; a batch is tens of MiB, and blocks the thread it runs on. */
export interface WorkerPool extends AsyncDisposable {
  /** How many batches run at the same time. */
  readonly parallel: number
  run(request: BatchRequest): Promise<Uint8Array>
}

/** Below this, starting Node workers (60-70 ms of CPU each) costs more than it brings. */
const WORKERS_PAY_FROM_BYTES = 192 * 1024 * 1024

/** Half of libuv's threads: the others are for the files of the repository. */
const LIBUV_THREADS = 2

/**
 * The threads for a job that will move about `bytes`: one a core and at most 8, unless `workers` says
 * how many. Two or fewer are of libuv's, which are there anyway, and so are those of a small job; more
 * are piscina workers.
 */
export function openWorkerPool(bytes: number, workers: number | null): WorkerPool {
  if (workers === null && bytes < WORKERS_PAY_FROM_BYTES) return libuvPool(LIBUV_THREADS)
  const threads = workers ?? Math.min(availableParallelism(), WORKERS_DEFAULT_MAX)
  return threads <= LIBUV_THREADS ? libuvPool(threads) : piscinaPool(threads)
}

function piscinaPool(threads: number): WorkerPool {
  const starting = startPiscina(threads)
  // It is awaited by whoever needs a worker; a failure before that is not unhandled.
  starting.catch(() => {})
  const early = libuvPool(Math.min(threads, LIBUV_THREADS))
  let earlyLeft = early.parallel
  return {
    parallel: threads,
    async run(request) {
      // The first batches need not wait for workers to start.
      if (earlyLeft > 0) {
        earlyLeft -= 1
        return early.run(request)
      }
      const workers = await starting
      const reply = (await workers.run(request)) as BatchReply
      if ('failure' in reply) throw toMoverError(new Error(reply.failure))
      return reply.bytes
    },
    async [Symbol.asyncDispose]() {
      const [outcome] = await Promise.allSettled([starting])
      if (outcome.status === 'fulfilled') await outcome.value.destroy()
    },
  }
}

/** Loaded when it is needed: small jobs, and commands that move nothing, start sooner without it. */
async function startPiscina(threads: number): Promise<Piscina> {
  const { Piscina } = await import('piscina')
  return new Piscina({
    filename: new URL('./batch-worker.js', import.meta.url).href,
    name: 'runBatch',
    minThreads: threads,
    maxThreads: threads,
    // Whatever loaders and flags the host process runs with are no business of ours.
    execArgv: [],
  })
}

function libuvPool(parallel: number): WorkerPool {
  return {
    parallel,
    async run(request) {
      switch (request.kind) {
        case 'ingest':
          return native(
            addon => addon.ingestAsync(request.job, request.runs, request.store),
            'read',
          )
        case 'extract':
          return (await native(addon => addon.extractAsync(request.job, request.rows), 'decode'))
            .damaged
        default:
          throw new MoverError('INTERNAL', 'unknown kind of batch')
      }
    },
    async [Symbol.asyncDispose]() {
      // libuv's threads belong to Node.
    },
  }
}
