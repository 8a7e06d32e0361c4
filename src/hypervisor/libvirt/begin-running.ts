import { MoverError } from '../../core/errors.js'
import { invariant } from '../../core/invariant.js'
import { formatBytes } from '../../core/units.js'
import type { BeginRequest, DiskHistory, FrozenDisk, PointInTime } from '../point-in-time.js'
import { countedSince } from './counted-since.js'
import { domainAttachments } from './domain-attachments.js'
import { diskIdentity, qemuOwner, volumeBytesOf } from './domain-disks.js'
import { endBackup, freeDomain } from './domain-job.js'
import { freezeDomain, type ExportedDisk, type FrozenDomain } from './frozen-domain.js'
import type { OpenDomain } from './open-domain.js'
import {
  BROKEN_BITMAP,
  checkpointDescription,
  deleteCheckpoints,
  newCheckpointName,
  ownCheckpoints,
  unneededCheckpoints,
  type OwnCheckpoint,
} from './own-checkpoints.js'
import { refuseThreads } from './refuse-threads.js'
import { isFolder, removeDeadFolders } from './scratch-folder.js'
import { spaceOf, watchScratch } from './watch-scratch.js'

/** A checkpoint and the job that began with it. */
interface Begun {
  readonly name: string
  readonly frozen: FrozenDomain
  readonly scratch: string
  readonly request: BeginRequest
}

/**
 * A point in time of a domain that runs: a pull-mode backup job, with a checkpoint made at its moment.
 * First the job of a dead mover is ended, and checkpoints that nothing counts from are deleted.
 */
export async function beginRunning(open: OpenDomain, request: BeginRequest): Promise<PointInTime> {
  const { domain, chosen } = open
  const { histories, emit, signal } = request
  await refuseThreads(open, { signal })
  const scratch = await usableScratch(open, request)
  const attachments = await domainAttachments(domain)
  // Listed before it is seen that no job is under way: what has no manifest then never gets one.
  const found = await ownCheckpoints(domain)
  if (await freeDomain(domain)) {
    const message = `a backup job that a killed mover left on domain '${domain.name}' was ended`
    emit({ type: 'warning', code: 'RECOVERED', message })
  }
  await orWarn(() => removeDeadFolders(scratch, domain.uuid), request)
  await clear(found, open, request)
  const checkpoints = await ownCheckpoints(domain)
  const name = newCheckpointName()
  const frozen = await freezeDomain(domain, {
    disks: histories.map(history => ({
      target: history.disk,
      since: countedSince(history, open, checkpoints).since,
    })),
    checkpoint: checkpointPlan(name, open, histories),
    scratch,
    owner: qemuOwner(chosen.description),
    signal,
  })
  const begun = { name, frozen, scratch, request }
  return { attachments, ...pointInTime(open, begun, checkpoints) }
}

function pointInTime(
  open: OpenDomain,
  { name, frozen, scratch, request }: Begun,
  checkpoints: readonly OwnCheckpoint[],
): Omit<PointInTime, 'attachments'> {
  const { domain } = open
  const committed = new Set<string>()
  const full = new AbortController()
  const watch = watchScratch(scratch, error => {
    full.abort(error)
    request.emit({ type: 'warning', code: 'SCRATCH_FULL', message: error.message })
    // Now, and not when the backup notices: until then each write of the guest takes more of it.
    orWarn(() => endBackup(domain), request).catch(() => {})
  })
  return {
    disks: frozen.disks.map(disk => frozenDisk(disk, { open, name, request, checkpoints })),
    voided: full.signal,
    async check() {
      full.signal.throwIfAborted()
      if ((await domain.backupXml()) !== null) return
      throw new MoverError(
        'SOURCE_CHANGED',
        `the backup job of domain '${domain.name}' has ended`,
        {
          stage: 'read',
          retryable: true,
          remedy: 'see whether the domain still runs, and who ended the job; then back it up again',
        },
      )
    },
    async committed(disk) {
      // Its predecessor goes when the job has ended: until then libvirt reads from its bitmaps.
      committed.add(disk)
    },
    async [Symbol.asyncDispose]() {
      watch[Symbol.dispose]()
      await orWarn(async () => frozen[Symbol.asyncDispose](), request)
      const histories = request.histories.map(history =>
        committed.has(history.disk)
          ? { ...history, committed: [...history.committed, name] }
          : history,
      )
      await orWarn(
        async () => clear(await ownCheckpoints(domain), open, { ...request, histories }),
        request,
      )
    },
  }
}

/** What is left behind is told, and found by the next run; how the backup ended is not changed by it. */
async function orWarn(work: () => Promise<void>, { emit }: BeginRequest): Promise<void> {
  try {
    await work()
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    emit({ type: 'warning', code: 'LEFT_BEHIND', message })
  }
}

/** Deletes what no disk needs: predecessors of committed checkpoints, and those that were not committed. */
async function clear(
  checkpoints: readonly OwnCheckpoint[],
  { domain, chosen: { allTargets } }: OpenDomain,
  { histories, emit }: BeginRequest,
): Promise<void> {
  const unneeded = unneededCheckpoints({ checkpoints, histories, targets: allTargets })
  for (const { message } of await deleteCheckpoints(domain, unneeded)) {
    emit({ type: 'warning', code: 'CHECKPOINT_LEFT', message })
  }
}

function frozenDisk(
  { target, uri, bitmap }: ExportedDisk,
  parts: Pick<Begun, 'name' | 'request'> & {
    readonly open: OpenDomain
    readonly checkpoints: readonly OwnCheckpoint[]
  },
): FrozenDisk {
  const { open, name, request, checkpoints } = parts
  const history = request.histories.find(({ disk }) => disk === target)
  invariant(history !== undefined, 'every disk has its history')
  const counted = countedSince(history, open, checkpoints)
  const { since } = counted
  const reason = since === null ? counted.reason : BROKEN_BITMAP
  return {
    name: target,
    volumeBytes: volumeBytesOf(open, target),
    source: uri,
    identity: diskIdentity(open, target),
    checkpoint: name,
    tracking:
      bitmap !== null && since !== null
        ? { kind: 'tracked', uri, bitmap, since }
        : { kind: 'lost', reason },
  }
}

/** The checkpoint to be made; null where no disk can have one. */
function checkpointPlan(name: string, { chosen }: OpenDomain, histories: readonly DiskHistory[]) {
  const tracked = histories.filter(({ disk }) => !chosen.untracked.has(disk))
  const targets = tracked.map(({ disk }) => disk)
  if (targets.length === 0) return null
  return {
    name,
    description: checkpointDescription(tracked),
    targets,
    others: chosen.allTargets.filter(target => !targets.includes(target)),
  }
}

async function usableScratch(
  { options, disks }: OpenDomain,
  { emit }: BeginRequest,
): Promise<string> {
  const { scratch = null, scratchBytes = null } = options
  const remedy =
    'the domain runs: name a folder for what it overwrites while its disks are read, --scratch DIR'
  if (scratch === null || !(await isFolder(scratch))) {
    const what = scratch === null ? 'is not named' : `'${scratch}' is no folder`
    throw new MoverError('ARGUMENT_INVALID', `the scratch folder ${what}`, { remedy })
  }
  const needed = disks.reduce((sum, { volumeBytes }) => sum + (scratchBytes ?? volumeBytes), 0)
  const { free } = spaceOf(scratch)
  if (free >= needed) return scratch
  const message = `the scratch folder ${scratch} has ${formatBytes(free)} free of ${formatBytes(needed)}`
  if (scratchBytes !== null) throw new MoverError('HYPERVISOR_REFUSED', message, { remedy })
  const unless = 'if the guest overwrites more than fits there meanwhile, the backup is given up'
  emit({ type: 'warning', code: 'SCRATCH_SMALL', message: `${message}: ${unless}` })
  return scratch
}
