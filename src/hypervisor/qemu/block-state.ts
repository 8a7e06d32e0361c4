/** What QEMU says of its block layer, read with a doubt: every field is looked at before it is used. */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { isQmpError, type QmpClient } from './qmp-client.js'

export interface BlockNode {
  readonly name: string
  readonly driver: string
  readonly volumeBytes: number
  readonly isReadOnly: boolean
  /** Of the file below, as QEMU names it. */
  readonly filename: string
  /** Whether bitmaps on it outlive the process: qcow2 of version 3, open for writing. */
  readonly keepsBitmaps: boolean
  /** Its own; those of its backing are not among them. */
  readonly bitmaps: readonly NodeBitmap[]
}

export interface NodeBitmap {
  readonly name: string
  readonly isRecording: boolean
  readonly isInconsistent: boolean
  /** In use by a job or an export. */
  readonly isBusy: boolean
  /** Saved when the disk is closed in order. */
  readonly isPersistent: boolean
  readonly granularityBytes: number
  readonly dirtyBytes: number
}

export interface Job {
  readonly status: string
  /** Why it failed; null where it did not, or has not yet. */
  readonly error: string | null
}

/** What runs in the block layer. */
export interface RunState {
  /** By id. */
  readonly jobs: ReadonlyMap<string, Job>
  /** Ids of exports. */
  readonly exports: ReadonlySet<string>
}

export interface BlockState extends RunState {
  readonly nodes: ReadonlyMap<string, BlockNode>
}

/** Asks for nodes, jobs and exports, in three commands: they may differ in age by that much. */
export async function readBlockState(qmp: QmpClient, options?: AbortOptions): Promise<BlockState> {
  const nodes = await qmp.execute('query-named-block-nodes', { flat: true }, options)
  return {
    nodes: new Map(listOf(nodes).map(node => [textOf(node['node-name']), nodeOf(node)])),
    ...(await readRunState(qmp, options)),
  }
}

export async function readRunState(qmp: QmpClient, options?: AbortOptions): Promise<RunState> {
  const jobs = await readJobs(qmp, options)
  const exports = await qmp.execute('query-block-exports', {}, options)
  return { jobs, exports: new Set(listOf(exports).map(found => textOf(found['id']))) }
}

export async function readJobs(
  qmp: QmpClient,
  options?: AbortOptions,
): Promise<ReadonlyMap<string, Job>> {
  const jobs = listOf(await qmp.execute('query-jobs', {}, options))
  return new Map(
    jobs.map(({ id, status, error }) => [
      textOf(id),
      { status: textOf(status), error: error === undefined ? null : textOf(error) },
    ]),
  )
}

/** A guest's device. */
export interface Device {
  /** The node at its top. */
  readonly node: string
  /** Its path in QEMU's object model; null of a drive without a device. */
  readonly qdev: string | null
}

/** Guests' devices, by the names that people know these by; none in a storage daemon. */
export async function readDevices(
  qmp: QmpClient,
  options?: AbortOptions,
): Promise<ReadonlyMap<string, Device>> {
  const devices = new Map<string, Device>()
  for (const device of listOf(await queryBlock(qmp, options))) {
    const node = recordOf(device['inserted'] ?? {})['node-name']
    if (typeof node !== 'string') continue
    const qdev = typeof device['qdev'] === 'string' ? device['qdev'] : null
    const id = /^\/machine\/peripheral\/([^/]+)/.exec(qdev ?? '')?.[1] ?? qdev
    for (const name of [id, device['device']]) {
      if (typeof name === 'string' && name !== '') devices.set(name, { node, qdev })
    }
  }
  return devices
}

async function queryBlock(qmp: QmpClient, options?: AbortOptions): Promise<unknown> {
  try {
    return await qmp.execute('query-block', {}, options)
  } catch (error) {
    if (isQmpError(error, 'CommandNotFound')) return []
    throw error
  }
}

function nodeOf(node: JsonRecord): BlockNode {
  const image = recordOf(node['image'])
  const { compat } = recordOf(recordOf(image['format-specific'] ?? {})['data'] ?? {})
  const driver = textOf(node['drv'])
  const isReadOnly = node['ro'] === true
  return {
    name: textOf(node['node-name']),
    driver,
    volumeBytes: countOf(image['virtual-size']),
    isReadOnly,
    filename: textOf(image['filename']),
    keepsBitmaps: driver === 'qcow2' && compat === '1.1' && !isReadOnly,
    bitmaps: listOf(node['dirty-bitmaps'] ?? [])
      // QEMU's own have no name.
      .filter(({ name }) => typeof name === 'string')
      .map(bitmap => ({
        name: textOf(bitmap['name']),
        isRecording: bitmap['recording'] === true,
        isInconsistent: bitmap['inconsistent'] === true,
        isBusy: bitmap['busy'] === true,
        isPersistent: bitmap['persistent'] === true,
        granularityBytes: countOf(bitmap['granularity']),
        dirtyBytes: countOf(bitmap['count']),
      })),
  }
}

export type JsonRecord = Readonly<Record<string, unknown>>

/** The elements of an answer that has to be a list of objects. */
export function listOf(value: unknown): JsonRecord[] {
  if (!Array.isArray(value)) throw nonsense(value)
  return value.map(recordOf)
}

function recordOf(value: unknown): JsonRecord {
  if (typeof value === 'object' && value !== null) return value as JsonRecord
  throw nonsense(value)
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  throw nonsense(value)
}

function countOf(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw nonsense(value)
}

function nonsense(value: unknown): MoverError {
  const said = String(JSON.stringify(value)).slice(0, 80)
  return new MoverError('HYPERVISOR_FAILED', `QEMU answered what makes no sense here: ${said}`, {
    stage: 'open',
    remedy: 'tell the version of QEMU with a report: mover was tested with 7.2',
  })
}
