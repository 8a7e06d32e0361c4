/** Whether a domain is free for a backup job: what a dead mover left is ended, what others do is told. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MoverError } from '../../core/errors.js'
import { backupJobFacts, type BackupJobFacts } from './backup-xml.js'
import type { Domain, JobStats } from './domain.js'
import { isLibvirtError, LIBVIRT_ERRORS } from './libvirt-error.js'
import { ownerOfSocket, removeDeadFolder } from './scratch-folder.js'

const END_WAIT_MS = 100
const END_WAITS_MAX = 300

/** enum virDomainJobOperation, in people's words. */
const OPERATIONS = [
  'something',
  'a start',
  'being saved',
  'being restored',
  'an incoming migration',
  'an outgoing migration',
  'a snapshot',
  'a revert to a snapshot',
  'a dump',
  'a backup',
  'the deletion of a snapshot',
]

/**
 * Resolves when no job holds the domain. A dead mover's backup job is ended, and true is given for it;
 * HYPERVISOR_REFUSED where the job is somebody else's, at once: libvirt itself would make us wait for
 * half a minute, and then say that it waited.
 */
export async function freeDomain(domain: Domain): Promise<boolean> {
  const xml = await domain.backupXml()
  if (xml === null) {
    const stats = await domain.jobStats()
    if (isUnderWay(stats)) throw busy(domain, operationWords(stats))
    return false
  }
  const facts = backupJobFacts(xml)
  const owner = await ownerOfSocket(facts.socket)
  if (owner === 'a dead mover') {
    await endBackup(domain)
    if (facts.socket !== null) await removeDeadFolder(facts.socket)
    return true
  }
  throw busy(domain, owner === 'a live mover' ? moverWords(facts) : strangerWords(facts))
}

/**
 * Throws HYPERVISOR_REFUSED where a job holds the domain during which nothing can be asked of its disks:
 * libvirt would let us wait for half a minute. A backup job is none of those.
 */
export async function refuseBusy(domain: Domain): Promise<void> {
  if ((await domain.backupXml()) !== null) return
  const stats = await domain.jobStats()
  if (isUnderWay(stats)) throw busy(domain, operationWords(stats))
}

/** Ends the backup job and waits until it is gone; that there is none is as good. */
export async function endBackup(domain: Domain): Promise<void> {
  try {
    await domain.abortJob()
  } catch (error) {
    if (!isLibvirtError(error, LIBVIRT_ERRORS.operationInvalid)) throw error
  }
  for (let waits = 0; waits < END_WAITS_MAX; waits += 1) {
    if ((await domain.backupXml()) === null) return
    await sleep(END_WAIT_MS)
  }
  throw new MoverError('HYPERVISOR_FAILED', `the backup job of '${domain.name}' does not end`, {
    retryable: true,
    remedy: `virsh domjobabort ${domain.name}`,
  })
}

/** VIR_DOMAIN_JOB_BOUNDED or VIR_DOMAIN_JOB_UNBOUNDED. */
function isUnderWay({ type }: JobStats): boolean {
  return type === 1 || type === 2
}

function operationWords({ fields }: JobStats): string {
  return OPERATIONS[Number(fields.get('operation') ?? 0)] ?? 'something'
}

function moverWords({ socket }: BackupJobFacts): string {
  return `a backup by another mover, which lives and serves at ${socket}`
}

function strangerWords({ mode, socket, incremental, targets }: BackupJobFacts): string {
  const kind = incremental === null ? 'full' : `incremental since checkpoint ${incremental}`
  const place = socket === null ? '' : `, served at ${socket}`
  return `a backup that mover did not begin: ${mode} mode, ${kind}, of ${targets.join(', ')}${place}`
}

function busy({ name }: Domain, words: string): MoverError {
  return new MoverError('HYPERVISOR_REFUSED', `domain '${name}' is busy with ${words}`, {
    retryable: true,
    remedy: `wait for it; virsh domjobinfo ${name} and virsh backup-dumpxml ${name} say more`,
  })
}
