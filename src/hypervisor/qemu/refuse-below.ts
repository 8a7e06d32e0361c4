/**
 * A node below another one is not always what the guest has: below an overlay it lacks what was written
 * since, and below a format it is the image's bytes, headers and all.
 */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { listOf, readBlockState, type JsonRecord } from './block-state.js'
import type { QemuDisk } from './open-qemu.js'
import { isQmpError, type QmpClient } from './qmp-client.js'

/** Drivers whose bytes are those of their file: below them a node is still the disk. */
const FILTERS: readonly string[] = [
  ...['blkdebug', 'blklogwrites', 'blkreplay', 'blkverify', 'commit_top', 'compress'],
  ...['copy-before-write', 'copy-on-read', 'mirror_top', 'preallocate', 'snapshot-access'],
  'throttle',
]

/**
 * Throws HYPERVISOR_REFUSED for a disk that lies below an overlay in which the guest writes, whose bytes
 * and bitmaps lack what was written since it was made; and for one in which another node keeps its bytes.
 */
export async function refuseBelow(
  qmp: QmpClient,
  disks: readonly QemuDisk[],
  options?: AbortOptions,
): Promise<void> {
  const graph = await readGraph(qmp, options)
  for (const { name, node } of disks) {
    const over = overlayOf(graph, node)
    if (over !== null) {
      const why = `'${name}' is the backing of '${over}', which has what was written since`
      throw refusal(why, over)
    }
    if (keepersOf(graph, node).length === 0) continue
    const image = imageOver(graph, node, await readDrivers(qmp, options))
    if (image === null) continue
    throw refusal(
      `'${name}' is the file in which '${image}' keeps its disk, and not that disk`,
      image,
    )
  }
}

function refusal(why: string, above: string): MoverError {
  const remedy = `name '${above}', or the guest's device`
  return new MoverError('HYPERVISOR_REFUSED', why, { stage: 'open', remedy })
}

function overlayOf(graph: Graph, node: string): string | null {
  const parents = graph.edges.filter(edge => edge['child'] === graph.ids.get(node))
  const isWritten = parents.some(
    ({ perm }) => Array.isArray(perm) && (perm as unknown[]).includes('write'),
  )
  const overlay = parents.find(edge => edge['name'] === 'backing')
  if (overlay === undefined || isWritten) return null
  return graph.names.get(overlay['parent']) ?? 'another node'
}

/** The node of the disk that is kept in `node`, through any filters; null where it is a disk itself. */
function imageOver(
  graph: Graph,
  node: string,
  drivers: ReadonlyMap<string, string>,
): string | null {
  for (const above of keepersOf(graph, node)) {
    const image = imageOver(graph, above, drivers)
    if (image !== null) return image
    if (!FILTERS.includes(drivers.get(above) ?? '')) return above
  }
  return null
}

/** Nodes that have it as their file. */
function keepersOf(graph: Graph, node: string): readonly string[] {
  const child = graph.ids.get(node)
  return graph.edges
    .filter(edge => edge['child'] === child && isFile(edge['name']))
    .flatMap(edge => graph.names.get(edge['parent']) ?? [])
}

function isFile(name: unknown): boolean {
  return name === 'file' || name === 'data-file'
}

async function readDrivers(
  qmp: QmpClient,
  options?: AbortOptions,
): Promise<ReadonlyMap<string, string>> {
  const { nodes } = await readBlockState(qmp, options)
  return new Map([...nodes.values()].map(({ name, driver }) => [name, driver]))
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
