/** What has to be true of a disk before it is frozen, and while it is. */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import type { DiskRun } from './begin-point-in-time.js'
import { listOf, readBlockState, type JsonRecord } from './block-state.js'
import type { QemuDisk } from './open-qemu.js'
import { isQmpError, type QmpClient } from './qmp-client.js'

/**
 * Throws HYPERVISOR_REFUSED for a disk that lies below an overlay in which the guest writes: neither its
 * bytes nor its bitmaps have what was written since the overlay was made.
 */
export async function refuseUnwritten(
  qmp: QmpClient,
  disks: readonly QemuDisk[],
  options?: AbortOptions,
): Promise<void> {
  const graph = await readGraph(qmp, options)
  for (const { name, node } of disks) {
    const parents = graph.edges.filter(edge => edge['child'] === graph.ids.get(node))
    const isWritten = parents.some(
      ({ perm }) => Array.isArray(perm) && (perm as unknown[]).includes('write'),
    )
    const overlay = parents.find(edge => edge['name'] === 'backing')
    if (overlay === undefined || isWritten) continue
    const over = graph.names.get(overlay['parent']) ?? 'another node'
    throw new MoverError(
      'HYPERVISOR_REFUSED',
      `'${name}' is the backing of '${over}', which has what was written since`,
      { stage: 'open', remedy: `name '${over}', or the guest's device` },
    )
  }
}

/**
 * Throws SOURCE_CHANGED when the frozen view of a disk cannot be what it was: its job has ended, its
 * bitmaps are not as they were left, or the disk has another size.
 */
export async function refuseUnlikeFrozen(
  qmp: QmpClient,
  runs: readonly DiskRun[],
  options?: AbortOptions,
): Promise<void> {
  const { nodes, jobs } = await readBlockState(qmp, options)
  for (const { name, node, names, next, since, volumeBytes } of runs) {
    const disk = nodes.get(node)
    const bitmap = (wanted: string) => disk?.bitmaps.find(found => found.name === wanted)
    const why =
      disk === undefined
        ? 'it is gone'
        : !['running', 'paused', 'ready'].includes(jobs.get(names.job)?.status ?? '')
          ? 'the job that keeps it frozen was ended'
          : disk.volumeBytes !== volumeBytes
            ? `it changed from ${volumeBytes} to ${disk.volumeBytes} bytes`
            : bitmap(next)?.isRecording !== true
              ? `bitmap ${next} does not record`
              : 'bitmap' in since && bitmap(since.bitmap)?.isRecording !== false
                ? `bitmap ${since.bitmap} is gone, or records`
                : null
    if (why === null) continue
    throw new MoverError('SOURCE_CHANGED', `the frozen view of '${name}' is void: ${why}`, {
      stage: 'read',
      remedy: 'back up again; what is named mover-… in the machine is not for others to change',
    })
  }
}

interface Graph {
  readonly ids: ReadonlyMap<unknown, unknown>
  readonly names: ReadonlyMap<unknown, string>
  readonly edges: readonly JsonRecord[]
}

/** A command for debugging, so that it may go: then nothing is known, and nothing refused. */
async function readGraph(qmp: QmpClient, options?: AbortOptions): Promise<Graph> {
  try {
    const graph = (await qmp.execute('x-debug-query-block-graph', {}, options)) as JsonRecord
    const nodes = listOf(graph['nodes']).filter(({ type }) => type === 'block-driver')
    return {
      ids: new Map(nodes.map(({ name, id }) => [name, id])),
      names: new Map(nodes.map(({ name, id }) => [id, String(name)])),
      edges: listOf(graph['edges']),
    }
  } catch (error) {
    if (!isQmpError(error, 'CommandNotFound')) throw error
    return { ids: new Map(), names: new Map(), edges: [] }
  }
}
