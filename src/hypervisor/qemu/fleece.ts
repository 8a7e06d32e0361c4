/** The parts of a frozen view of one disk in QEMU, each made and removed by itself. */
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { readBlockState, readJobs, readRunState, type RunState } from './block-state.js'
import type { FleeceNames } from './fleece-names.js'
import { isQmpError, type QmpClient } from './qmp-client.js'
import { formatScratch } from './scratch-image.js'

/** How long QEMU may take to end a job or an export, or to make a file. */
const SETTLE_MS = 60_000
const LOOK_EVERY_MS = 20

/** Where and how large a disk's scratch file is. */
export interface Scratch {
  readonly path: string
  readonly volumeBytes: number
  /** Taken from the file system at once. */
  readonly reservedBytes: number
}

/**
 * Makes the scratch file, its room reserved, and opens it in QEMU. Throws HYPERVISOR_REFUSED where the
 * disk has one already, and HYPERVISOR_FAILED where there is no room.
 */
export async function addScratch(
  qmp: QmpClient,
  names: FleeceNames,
  { path, volumeBytes, reservedBytes }: Scratch,
  options?: AbortOptions,
): Promise<void> {
  const file = { driver: 'file', filename: path, size: reservedBytes, preallocation: 'falloc' }
  await create(qmp, names.create, file, options)
  await formatScratch(path, volumeBytes)
  await qmp.execute(
    'blockdev-add',
    { driver: 'file', 'node-name': names.file, filename: path, discard: 'unmap' },
    options,
  )
  // QEMU has it open: without a name its room is given back whatever becomes of this process.
  await rm(path)
}

/** Opens the scratch file as an overlay of the disk: unwritten, it reads as the disk does. */
export async function addOverlay(
  qmp: QmpClient,
  names: FleeceNames,
  disk: string,
  options?: AbortOptions,
): Promise<void> {
  const { file, overlay } = names
  await qmp.execute(
    'blockdev-add',
    { driver: 'qcow2', 'node-name': overlay, file, backing: disk },
    options,
  )
}

/** Ends whatever reads or keeps the frozen view. What is there no more is no error. */
export async function endFleece(
  qmp: QmpClient,
  names: FleeceNames,
  options?: AbortOptions,
): Promise<void> {
  const state = await readRunState(qmp, options)
  if (state.exports.has(names.export)) {
    await qmp.execute('block-export-del', { id: names.export, mode: 'hard' }, options)
    await until(qmp, `export ${names.export} ends`, now => !now.exports.has(names.export), options)
  }
  if (state.jobs.has(names.job)) await endJob(qmp, names.job, options)
  if (state.jobs.has(names.create)) await endJob(qmp, names.create, options)
}

/**
 * Removes the nodes of a fleece that has ended, and gives its room back. The NBD server has to be stopped
 * before that of the last one: by the scratch file it is known whose server it is.
 */
export async function removeNodes(
  qmp: QmpClient,
  names: FleeceNames,
  options?: AbortOptions,
): Promise<void> {
  const { nodes } = await readBlockState(qmp, options)
  for (const node of [names.overlay, names.file]) {
    if (nodes.has(node)) await qmp.execute('blockdev-del', { 'node-name': node }, options)
  }
}

async function endJob(qmp: QmpClient, id: string, options?: AbortOptions): Promise<void> {
  const isOver = ({ jobs }: Pick<RunState, 'jobs'>) =>
    (jobs.get(id)?.status ?? 'concluded') === 'concluded'
  const cancel = () => qmp.execute('job-cancel', { id }, options)
  if (!isOver({ jobs: await readJobs(qmp, options) })) await cancel().catch(unlessGone)
  await until(qmp, `job ${id} ends`, isOver, options)
  if ((await readJobs(qmp, options)).has(id))
    await qmp.execute('job-dismiss', { id }, options).catch(unlessGone)
}

/** Runs one of QEMU's jobs that make files to its end. */
async function create(
  qmp: QmpClient,
  id: string,
  what: Readonly<Record<string, unknown>>,
  options?: AbortOptions,
): Promise<void> {
  await qmp.execute('blockdev-create', { 'job-id': id, options: what }, options)
  await until(qmp, `job ${id} ends`, ({ jobs }) => jobs.get(id)?.status === 'concluded', options)
  const error = (await readJobs(qmp, options)).get(id)?.error ?? null
  await qmp.execute('job-dismiss', { id }, options)
  if (error === null) return
  throw new MoverError('HYPERVISOR_FAILED', `QEMU cannot make a scratch file: ${error}`, {
    stage: 'open',
    remedy:
      'what the guest overwrites during the backup is kept there, in the worst case the whole disk: ' +
      'name a larger folder with --scratch, or reserve less with --scratch-bytes',
  })
}

async function until(
  qmp: QmpClient,
  what: string,
  isSo: (state: RunState) => boolean,
  options?: AbortOptions,
): Promise<void> {
  const deadlineMs = performance.now() + SETTLE_MS
  for (;;) {
    if (isSo(await readRunState(qmp, options))) return
    if (performance.now() > deadlineMs) {
      throw new MoverError(
        'HYPERVISOR_FAILED',
        `QEMU was waited for ${SETTLE_MS / 1000} s until ${what}`,
        { remedy: 'look at query-jobs and query-block-exports of the machine' },
      )
    }
    await sleep(LOOK_EVERY_MS)
  }
}

function unlessGone(error: unknown): void {
  // It ended between the question and the command.
  if (!isQmpError(error, 'DeviceNotActive') && !isQmpError(error, 'GenericError')) throw error
}
