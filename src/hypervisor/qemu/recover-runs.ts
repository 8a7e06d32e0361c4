import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { readBlockState, type BlockState } from './block-state.js'
import { fleeceNames, fleeceOfFile, type FleeceNames } from './fleece-names.js'
import { endFleece, removeNodes } from './fleece.js'
import type { QmpClient } from './qmp-client.js'
import { hasNbdSocket, isRunAlive, removeRunFolder, runFolderOf } from './run-folder.js'

export interface RecoveredRuns {
  /** Folders of killed runs that were cleared away. */
  readonly cleared: readonly string[]
  /** Folders of runs that live, on other disks of the machine. */
  readonly live: ReadonlySet<string>
}

/**
 * Removes from a machine what killed runs left of exports, jobs and nodes; bitmaps are not looked at.
 * Throws HYPERVISOR_REFUSED where a run is under way on one of `nodes`.
 */
export async function recoverRuns(
  qmp: QmpClient,
  nodes: readonly string[],
  options?: AbortOptions,
): Promise<RecoveredRuns> {
  const state = await readBlockState(qmp, options)
  const live = new Set<string>()
  const cleared: string[] = []
  for (const [folder, fleeces] of runsOf(state)) {
    if (await isRunAlive(folder)) {
      refuseIfOurs(nodes, fleeces)
      live.add(folder)
      continue
    }
    for (const names of fleeces) await endFleece(qmp, names, options)
    await stopOurServer(qmp, folder, options)
    for (const names of fleeces) await removeNodes(qmp, names, options)
    await removeRunFolder(folder)
    cleared.push(folder)
  }
  // A run that was killed while QEMU made its file has left the job alone.
  for (const node of nodes) {
    const names = fleeceNames(node)
    if (state.jobs.get(names.create)?.status === 'concluded') await endFleece(qmp, names, options)
  }
  return { cleared, live }
}

/** Stops an NBD server that a run of ours has started, unless somebody else has come to use it. */
export async function stopOurServer(
  qmp: QmpClient,
  folder: string,
  options?: AbortOptions,
): Promise<void> {
  if (!(await hasNbdSocket(folder))) return
  const { exports } = await readBlockState(qmp, options)
  if (exports.size === 0) await qmp.execute('nbd-server-stop', {}, options)
}

function runsOf({ nodes }: BlockState): ReadonlyMap<string, readonly FleeceNames[]> {
  const runs = new Map<string, FleeceNames[]>()
  for (const { name, filename } of nodes.values()) {
    const names = fleeceOfFile(name)
    const folder = names === null ? null : runFolderOf(filename)
    if (names !== null && folder !== null) {
      runs.set(folder, [...(runs.get(folder) ?? []), names])
    }
  }
  return runs
}

function refuseIfOurs(nodes: readonly string[], fleeces: readonly FleeceNames[]): void {
  const taken = nodes.find(node => fleeces.some(({ file }) => file === fleeceNames(node).file))
  if (taken === undefined) return
  throw new MoverError('HYPERVISOR_REFUSED', `another mover is backing up '${taken}'`, {
    stage: 'open',
    retryable: true,
    remedy: 'wait until it has ended',
  })
}
