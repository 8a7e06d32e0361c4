import { randomBytes } from 'node:crypto'
import { throwIfAborted, type AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import { invariant } from '../../core/invariant.js'
import type { BeginRequest, DiskHistory, FrozenDisk, PointInTime } from '../point-in-time.js'
import { bitmapName } from './bitmap-plan.js'
import { fleeceNames, type FleeceNames } from './fleece-names.js'
import { addOverlay, addScratch, endFleece, removeNodes } from './fleece.js'
import type { QemuDisk } from './open-qemu.js'
import type { QmpClient } from './qmp-client.js'
import type { QmpLine } from './qmp-line.js'
import { freezeDisks } from './freeze-disks.js'
import { recoverRuns, stopOurServer } from './recover-runs.js'
import { refuseBelow } from './refuse-below.js'
import { refuseThreads } from './refuse-threads.js'
import { makeRunFolder, type RunFolder } from './run-folder.js'
import { settleBitmaps } from './settle-bitmaps.js'
import { watchScratch } from './watch-scratch.js'
import { refuseUnlikeFrozen } from './refuse-unlike-frozen.js'

export interface PointInTimeRequest extends BeginRequest {
  readonly line: QmpLine
  readonly disks: readonly QemuDisk[]
  readonly scratch: string
  readonly scratchBytes: number | null
  readonly nbdSocket: string | null
}

/** One disk on its way through a run. */
export interface DiskRun extends QemuDisk {
  readonly names: FleeceNames
  readonly history: DiskHistory
  /** The bitmap that counts from the moment of this run. */
  readonly next: string
  /** The bitmap that has counted until then, or why there is none. */
  readonly since: { readonly bitmap: string } | { readonly lost: string }
}

const MiB = 1024 * 1024

/**
 * Clears up after killed runs, and freezes the disks in one transaction: from that moment on, what the
 * guest overwrites is copied first, a new bitmap records, and the old one does not.
 */
export async function beginPointInTime(request: PointInTimeRequest): Promise<PointInTime> {
  const { line, disks, histories, emit, signal } = request
  const qmp = await line.client({ signal })
  await refuseBelow(qmp, disks, { signal })
  await refuseThreads(qmp, disks, { signal })
  const nodes = disks.map(({ node }) => node)
  const { cleared, live } = await recoverRuns(qmp, nodes, { signal })
  for (const folder of cleared) {
    const message = `a backup was killed; what it left in the machine and in '${folder}' is cleared`
    emit({ type: 'warning', code: 'RECOVERED', message })
  }
  const id = randomBytes(8).toString('hex')
  const runs: DiskRun[] = []
  for (const [position, disk] of disks.entries()) {
    const history = histories[position]
    invariant(history?.disk === disk.name, 'every disk has its history')
    const { kept, lost } = await settleBitmaps(qmp, { node: disk.node, ...history }, { signal })
    runs.push({
      ...disk,
      names: fleeceNames(disk.node),
      history,
      next: bitmapName(history.lineage, id),
      since: kept === null ? { lost: lost ?? 'no-bitmap' } : { bitmap: kept },
    })
  }
  const folder = await makeRunFolder(request.scratch, line.path, live)
  const point = new QemuPointInTime(request, runs, folder)
  try {
    await point.freeze()
    return point
  } catch (error) {
    await point[Symbol.asyncDispose]()
    throw error
  }
}

class QemuPointInTime implements PointInTime {
  readonly attachments = []
  readonly #request: PointInTimeRequest
  readonly #runs: readonly DiskRun[]
  readonly #folder: RunFolder
  /** Those whose fleece may be there. */
  readonly #open: Set<DiskRun>
  readonly #void = new AbortController()
  #watch: Disposable | null = null

  constructor(request: PointInTimeRequest, runs: readonly DiskRun[], folder: RunFolder) {
    this.#request = request
    this.#runs = runs
    this.#folder = folder
    this.#open = new Set(runs)
  }

  get voided(): AbortSignal {
    return this.#void.signal
  }

  get disks(): readonly FrozenDisk[] {
    return this.#runs.map(run => this.#frozen(run))
  }

  async freeze(): Promise<void> {
    const { line, nbdSocket, signal } = this.#request
    const qmp = await line.client({ signal })
    for (const run of this.#runs) {
      await addScratch(qmp, run.names, this.#scratchOf(run), { signal })
      await addOverlay(qmp, run.names, run.node, { signal })
    }
    if (nbdSocket === null) await startServer(qmp, this.#folder.nbdSocket, { signal })
    line.onEvent = ({ event, data }) => this.#look(event, data)
    // Without the signal: whether it was done is to be known.
    throwIfAborted({ signal })
    const isSparing = await freezeDisks(qmp, this.#runs)
    await refuseUnlikeFrozen(qmp, this.#runs, { signal })
    for (const { names, node, since } of this.#runs) {
      const bitmaps = 'bitmap' in since ? [{ node, name: since.bitmap }] : []
      const exported = { type: 'nbd', id: names.export, 'node-name': names.overlay }
      await qmp.execute(
        'block-export-add',
        { ...exported, name: names.export, writable: false, bitmaps },
        { signal },
      )
    }
    if (!isSparing) this.#watch = this.#watchScratch()
  }

  async check(): Promise<void> {
    const qmp = await this.#request.line.client()
    const open = [...this.#open]
    await refuseUnlikeFrozen(qmp, open)
    if (this.voided.aborted) throw this.voided.reason
  }

  async committed(disk: string): Promise<void> {
    const run = this.#runs.find(({ name }) => name === disk)
    invariant(run !== undefined && this.#open.has(run), 'a disk is committed once')
    await this.#end(run, [...run.history.committed, run.next])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { emit } = this.#request
    this.#watch?.[Symbol.dispose]()
    try {
      for (const run of [...this.#open]) await this.#end(run, run.history.committed)
      await this.#folder[Symbol.asyncDispose]()
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      const message = `not all could be cleared away, and the next backup does it: ${why}`
      emit({ type: 'warning', code: 'LEFT_BEHIND', message })
    }
  }

  async #end(run: DiskRun, committed: readonly string[]): Promise<void> {
    this.#open.delete(run)
    const qmp = await this.#request.line.client()
    await endFleece(qmp, run.names)
    const { node, history } = run
    await settleBitmaps(qmp, { node, lineage: history.lineage, committed })
    if (this.#open.size === 0) await stopOurServer(qmp, this.#folder.path)
    await removeNodes(qmp, run.names)
  }

  #look(event: string, data: Readonly<Record<string, unknown>>): void {
    const isOver = ['aborting', 'concluded', 'null'].includes(String(data['status']))
    if (event !== 'JOB_STATUS_CHANGE' || !isOver) return
    const run = [...this.#open].find(({ names }) => names.job === data['id'])
    if (run === undefined) return
    this.#void.abort(voidView(`the job that keeps '${run.name}' frozen was ended`))
  }

  /** Gives the view up while there is room left, where the guest's writes would fail otherwise. */
  #watchScratch(): Disposable | null {
    const { line, scratch } = this.#request
    const rooms = this.#runs.map(run => ({ ...this.#scratchOf(run), file: run.names.file }))
    return watchScratch({
      line,
      folder: scratch,
      rooms,
      onShort: why => this.#void.abort(scratchFull(why)),
    })
  }

  #scratchOf({ names, volumeBytes }: DiskRun) {
    // Besides the bytes of the disk, a qcow2 file has 10 bytes of tables for each 64 KiB.
    const wholeBytes = volumeBytes + Math.ceil(volumeBytes / 4096) + MiB
    const wantedBytes = this.#request.scratchBytes ?? wholeBytes
    const reservedBytes = Math.ceil(Math.min(wantedBytes, wholeBytes) / 65_536) * 65_536
    return { path: this.#folder.scratchFile(names.suffix), volumeBytes, reservedBytes }
  }

  #frozen({ name, node, volumeBytes, names, next, since }: DiskRun): FrozenDisk {
    const { line, nbdSocket } = this.#request
    const socket = encodeURIComponent(nbdSocket ?? this.#folder.nbdSocket)
    const uri = `nbd+unix:///${encodeURIComponent(names.export)}?socket=${socket}`
    return {
      name,
      volumeBytes,
      source: uri,
      identity: `qmp ${line.path}/${node}`,
      checkpoint: next,
      tracking:
        'bitmap' in since
          ? { kind: 'tracked', uri, bitmap: since.bitmap, since: since.bitmap }
          : { kind: 'lost', reason: since.lost },
    }
  }
}

async function startServer(qmp: QmpClient, path: string, options: AbortOptions): Promise<void> {
  const addr = { type: 'unix', data: { path } }
  try {
    await qmp.execute('nbd-server-start', { addr, 'max-connections': 0 }, options)
  } catch (error) {
    if (!(error instanceof MoverError) || !/already running/.test(error.message)) throw error
    throw new MoverError('HYPERVISOR_REFUSED', 'somebody else runs the NBD server of this QEMU', {
      stage: 'open',
      cause: error,
      remedy: 'a QEMU has one: name its socket with --nbd-socket, or wait until it is stopped',
    })
  }
}

function voidView(why: string): MoverError {
  return new MoverError('SOURCE_CHANGED', `the frozen view of the machine is void: ${why}`, {
    stage: 'read',
    remedy: 'back up again; nobody else may end the jobs that are named mover-…',
  })
}

function scratchFull(why: string): MoverError {
  return new MoverError('SOURCE_FAILED', `the backup was given up for the guest's sake: ${why}`, {
    stage: 'read',
    retryable: true,
    remedy:
      'the guest overwrites more than --scratch-bytes has room for: reserve more, or back up when it ' +
      'writes less',
  })
}
