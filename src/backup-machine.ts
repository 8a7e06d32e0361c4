import { randomBytes } from 'node:crypto'
import { backup, type BackupOptions, type BackupResult } from './backup.js'
import type { AbortOptions } from './core/abort.js'
import type { BudgetOptions } from './core/budgets.js'
import { errorKind, MoverError } from './core/errors.js'
import { invariant } from './core/invariant.js'
import { startJob, type Job, type JobContext } from './core/job.js'
import type { BackupSet, Manifest } from './core/manifest.js'
import type {
  DiskHistory,
  FrozenDisk,
  Machine,
  MachineDisk,
  PointInTime,
} from './hypervisor/point-in-time.js'
import { deriveDigest } from './native/blake3.js'
import type { AuditPolicy } from './plan/audit-plan.js'
import type { Repository } from './repository.js'
import { lostChanges } from './source/lost-changes.js'
import { nbdChanges } from './source/nbd-changes.js'
import { errorOfDisk, tellDisk } from './of-disk.js'
import { openSource } from './source/open-source.js'
import { qcow2Changes } from './source/qcow2-changes.js'

export interface BackupMachineOptions extends AbortOptions, BudgetOptions {
  /** The caller keeps it. */
  readonly machine: Machine
  readonly repository: Repository
  /**
   * Name of the volume where one disk was named; else of the machine, and each disk's volume is
   * `NAME/DISK`.
   */
  readonly volume: string
  /** Reads everything and builds on nothing. */
  readonly full?: boolean
  readonly audit?: AuditPolicy
  readonly tags?: Readonly<Record<string, string>>
}

export interface BackupMachineResult {
  readonly operation: 'backup-machine'
  readonly machine: string
  /** What their manifests have in common; null of a single disk. */
  readonly set: string | null
  /** One for each disk, in order. */
  readonly disks: readonly BackupResult[]
  readonly seconds: number
}

type MachineRequest = Omit<BackupMachineOptions, 'signal'> & JobContext

/**
 * Freezes the disks of a machine at one moment and backs each of them up, as its own volume. A
 * disk's tracking advances when its manifest is durable, and never before; whatever a failure or a kill
 * leaves is put right by this run or the next.
 */
export function backupMachine({
  signal,
  ...options
}: BackupMachineOptions): Job<BackupMachineResult> {
  return startJob(context => run({ ...options, ...context }), { signal })
}

async function run(request: MachineRequest): Promise<BackupMachineResult> {
  const startedMs = performance.now()
  const { machine, signal, emit } = request
  emit({ type: 'stage', stage: 'freeze' })
  const volumes = await Promise.all(machine.disks.map(disk => volumeOf(disk, request)))
  const histories = volumes.map(historyOf)
  await using point = await machine.begin({ histories, emit, signal })

  const members = point.disks.length
  const isSet = members > 1
  const set = isSet ? { id: randomBytes(16).toString('hex'), members } : null
  const disks: BackupResult[] = []
  for (const [position, disk] of point.disks.entries()) {
    const volume = volumes[position]
    invariant(volume?.disk === disk.name, 'a point in time has the disks of its machine')
    disks.push(await backupDisk(disk, { ...request, point, volume, set }))
    await point.committed(disk.name)
  }
  const seconds = (performance.now() - startedMs) / 1000
  return {
    operation: 'backup-machine',
    machine: machine.name,
    set: set?.id ?? null,
    disks,
    seconds,
  }
}

/** What the repository has of a disk. */
interface DiskVolume {
  readonly disk: string
  readonly volume: string
  readonly lineage: string
  /** Oldest first. */
  readonly manifests: readonly Manifest[]
}

async function volumeOf(
  { name: disk }: MachineDisk,
  { machine, repository, volume: name, signal }: MachineRequest,
): Promise<DiskVolume> {
  const volume = machine.isOneDisk ? name : `${name}/${disk}`
  const whose = Buffer.from(`${repository.id}\0${volume}`)
  const lineage = Buffer.from(deriveDigest('mover 1 lineage', whose)).toString('hex').slice(0, 16)
  return { disk, volume, lineage, manifests: await repository.manifests(volume, { signal }) }
}

function historyOf({ disk, lineage, manifests }: DiskVolume): DiskHistory {
  const identities = new Map<string, string>()
  for (const { checkpoint, source } of manifests) {
    if (checkpoint !== null) identities.set(checkpoint, source.identity)
  }
  return { disk, lineage, committed: [...identities.keys()], identities }
}

interface DiskRequest extends Omit<MachineRequest, 'volume'> {
  readonly point: PointInTime
  readonly volume: DiskVolume
  readonly set: BackupSet | null
}

/** Of several disks, its events and its failure name it; but not what befell the view of all of them. */
async function backupDisk(disk: FrozenDisk, request: DiskRequest): Promise<BackupResult> {
  const { point, signal, emit, set } = request
  const { voided } = point
  try {
    return await readDisk(disk, {
      ...request,
      emit: set === null ? emit : tellDisk(emit, disk.name),
      signal: voided === undefined ? signal : AbortSignal.any([signal, voided]),
    })
  } catch (error) {
    if (!signal.aborted && isOfReading(error)) {
      // Not the reading failed: what was to be read is no more.
      if (voided?.aborted === true) throw voided.reason
      await refuseVoid(point)
    }
    throw set === null ? error : errorOfDisk(error, disk.name)
  }
}

/** Of anything else, such as a repository that is full, the frozen view is not the reason. */
function isOfReading(error: unknown): boolean {
  return error instanceof MoverError && ['source', 'cancelled'].includes(errorKind(error.code))
}

/** Throws where the view is known to be void; that it cannot be looked at explains nothing. */
async function refuseVoid(point: PointInTime): Promise<void> {
  try {
    await point.check()
  } catch (error) {
    if (error instanceof MoverError && error.code === 'SOURCE_CHANGED') throw error
  }
}

async function readDisk(disk: FrozenDisk, request: DiskRequest): Promise<BackupResult> {
  const { machine: _machine, point, volume, emit, ...options } = request
  const { full = false, signal } = request
  await using opened = await openSource(disk.source, { signal })
  const source = {
    ...opened,
    name: disk.name,
    identity: disk.identity,
    // The view is looked at last of all: what was read of one that has moved is never committed.
    checkUnchanged: async () => {
      await opened.checkUnchanged()
      await point.check()
    },
  }
  await using job = backup({
    ...options,
    ...changesOf(disk, volume, full),
    source,
    volume: volume.volume,
    checkpoint: disk.checkpoint,
    attachments: point.attachments,
  })
  for await (const event of job.events) emit(event)
  return await job.result
}

/** Tracking that was lost is a change source that says so, on top of the newest manifest. */
function changesOf(
  { name, tracking }: FrozenDisk,
  { manifests }: DiskVolume,
  isFull: boolean,
): Pick<BackupOptions, 'changes' | 'parent'> {
  const newest = manifests.at(-1)
  if (isFull || newest === undefined) return {}
  if (tracking.kind === 'tracked') {
    // Its hypervisor keeps the bitmap as it was, and the point in time is looked at again.
    return { changes: nbdChanges({ ...tracking, isFrozen: true }) }
  }
  if (tracking.kind === 'image') {
    const { path, since } = tracking
    return { changes: qcow2Changes({ path, bitmap: since, since }) }
  }
  return { changes: lostChanges(name, tracking.reason), parent: newest.id }
}
