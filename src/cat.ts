import type { AbortOptions } from './core/abort.js'
import { slotRunOf, type Geometry } from './core/chunk.js'
import { MoverError } from './core/errors.js'
import { extentEnd, type Extent } from './core/extent.js'
import { startJob, type Job, type JobContext } from './core/job.js'
import { BYTES_IN_FLIGHT_DEFAULT } from './core/limits.js'
import { beginJobSession } from './job-session.js'
import { openTree } from './manifest-tree.js'
import { missingChanges } from './manifest/doubts.js'
import { native } from './native/addon.js'
import { openDecodeJob } from './pipeline/decode-job.js'
import { SlotWindow } from './pipeline/slot-window.js'
import type { Repository } from './repository.js'

export interface CatOptions extends AbortOptions {
  readonly repository: Repository
  /** A manifest reference. */
  readonly manifest: string
  /** Descriptor that the bytes are written to: a pipe, a file, a socket. */
  readonly output: number
  /** The whole volume, unless given. */
  readonly range?: Extent | null
}

export interface CatResult {
  readonly operation: 'cat'
  readonly manifest: string
  /** Bytes written to the output. */
  readonly bytes: number
  readonly seconds: number
}

/** Slots decoded and written out at a time. */
const WINDOW_SLOTS = 1024

/**
 * Writes an extent of a backed-up volume to a descriptor, in order. Every chunk is compared with
 * its digest before a byte of it goes out. Throws ARGUMENT_INVALID for an extent beyond the volume.
 */
export function cat({ signal, ...options }: CatOptions): Job<CatResult> {
  return startJob(context => run(options, context), { signal })
}

async function run(
  { repository, output, range, ...options }: Omit<CatOptions, 'signal'>,
  { signal, emit }: JobContext,
): Promise<CatResult> {
  const startedMs = performance.now()
  await using _session = await beginJobSession(repository, { kind: 'read' }, emit)
  const manifest = await repository.resolve(options.manifest, null, { signal })
  for (const warning of await missingChanges(repository, [manifest], { signal })) emit(warning)
  // After the manifest is known: a backup may commit in between, and its chunks must be found.
  await repository.store.refresh({ signal })
  const geometry: Geometry = { volumeBytes: manifest.volumeBytes, chunkBytes: manifest.chunkBytes }
  const extent = range ?? { offset: 0, length: geometry.volumeBytes }
  refuseBeyond(extent, geometry)
  await using decoding = openDecodeJob({
    index: repository.store.index,
    packsRoot: repository.store.packsRoot,
    target: null,
    geometry,
    verifies: false,
    bytesInFlight: BYTES_IN_FLIGHT_DEFAULT,
    bytesPerSecond: null,
    signal,
  })
  emit({ type: 'stage', stage: 'write' })
  const tree = openTree(repository.store, manifest)
  for (const part of parts(extent, geometry)) {
    const { first, count } = slotRunOf(geometry, part)
    const window = new SlotWindow(count)
    for await (const rows of tree.slots({ from: first, to: first + count })) window.add(rows)
    const { wanted } = window.take()
    const plan = await native(addon => addon.planExtract(decoding.job, wanted, 'slot', 0), 'decode')
    const { offset, length } = part
    await native(addon => addon.emit(decoding.job, plan.rows, offset, length, output), 'write')
  }
  const seconds = (performance.now() - startedMs) / 1000
  return { operation: 'cat', manifest: manifest.id, bytes: extent.length, seconds }
}

function* parts(extent: Extent, { chunkBytes }: Geometry): Generator<Extent> {
  const partBytes = WINDOW_SLOTS * chunkBytes
  const end = extentEnd(extent)
  for (let offset = extent.offset; offset < end;) {
    const until = Math.min((Math.floor(offset / partBytes) + 1) * partBytes, end)
    yield { offset, length: until - offset }
    offset = until
  }
}

function refuseBeyond({ offset, length }: Extent, { volumeBytes }: Geometry): void {
  const isInside =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    length <= volumeBytes - offset
  if (isInside) return
  throw new MoverError(
    'ARGUMENT_INVALID',
    `the range ${offset}+${length} is not within the volume's ${volumeBytes} bytes`,
  )
}
