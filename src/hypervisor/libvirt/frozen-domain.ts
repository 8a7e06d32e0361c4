/** A point in time of a running domain: a pull-mode backup job, and the checkpoint made with it. */
import { dirname } from 'node:path'
import { throwIfAborted, type AbortOptions } from '../../core/abort.js'
import { MoverError, retold } from '../../core/errors.js'
import {
  backupXml,
  bitmapName,
  checkpointXml,
  type BackupDisk,
  type CheckpointPlan,
} from './backup-xml.js'
import { endBackup } from './domain-job.js'
import type { Domain } from './domain.js'
import { isLibvirtError, LIBVIRT_ERRORS } from './libvirt-error.js'
import { makeScratchFolder, type QemuOwner, type ScratchFolder } from './scratch-folder.js'

/** A disk that is to be frozen. */
export interface WantedDisk {
  readonly target: string
  /** The checkpoint since which its changes are asked for; null where they are not. */
  readonly since: string | null
}

export interface FreezeOptions extends AbortOptions {
  readonly disks: readonly WantedDisk[]
  /** The checkpoint to be made; null where none is. */
  readonly checkpoint: CheckpointPlan | null
  /** A folder for what the guest overwrites meanwhile. */
  readonly scratch: string
  readonly owner: QemuOwner | null
}

/** A disk that is served. */
export interface ExportedDisk {
  readonly target: string
  /** URI of its export. */
  readonly uri: string
  /** The dirty bitmap that is served beside it; null where none was asked for, or it is lost. */
  readonly bitmap: string | null
}

/** Disposing of it ends the job; the checkpoint stays. */
export interface FrozenDomain extends AsyncDisposable {
  readonly disks: readonly ExportedDisk[]
}

/**
 * Freezes the disks at one moment. A disk whose bitmap is missing or broken is served without it, and
 * costs the others nothing. Throws what libvirt says; then there is neither job nor checkpoint.
 */
export async function freezeDomain(domain: Domain, options: FreezeOptions): Promise<FrozenDomain> {
  throwIfAborted(options)
  const folder = await makeScratchFolder(options.scratch, {
    uuid: domain.uuid,
    owner: options.owner,
  })
  try {
    const lost = await begin(domain, folder, options)
    return frozenDomain(domain, folder, { ...options, lost })
  } catch (error) {
    await folder[Symbol.asyncDispose]()
    throw isAboutFolder(error, folder) ? withScratchRemedy(error) : error
  }
}

/** libvirt has no number of its own for what QEMU may not do to a file; it names the file, or says why. */
function isAboutFolder(error: unknown, { socket }: ScratchFolder): error is MoverError {
  if (!(error instanceof MoverError) || error.remedy !== null) return false
  return error.message.includes(dirname(socket)) || /Permission denied/.test(error.message)
}

function withScratchRemedy(error: MoverError): MoverError {
  const remedy =
    "name another folder with --scratch DIR: QEMU's user has to be able to write there, and to go through " +
    'the folders above it, and its AppArmor or SELinux to let it'
  return retold(error, { remedy })
}

/** Begins the job; gives the targets of disks that have lost their bitmaps. */
async function begin(
  domain: Domain,
  folder: ScratchFolder,
  { disks, checkpoint }: FreezeOptions,
): Promise<ReadonlySet<string>> {
  const plan = checkpoint === null ? null : checkpointXml(checkpoint)
  const beginWith = (planned: readonly BackupDisk[]) =>
    domain.beginBackup({
      backupXml: backupXml({ socket: folder.socket, disks: planned }),
      checkpointXml: plan,
    })
  const all = disks.map(disk => ({ ...disk, scratch: folder.scratchOf(disk.target) }))
  try {
    await beginWith(all)
    return new Set()
  } catch (error) {
    // It says that some bitmap is broken; which one, it says to people only.
    if (!isLibvirtError(error, LIBVIRT_ERRORS.checkpointInconsistent)) throw error
  }
  const lost = new Set<string>()
  for (const disk of all) {
    if (disk.since !== null && !(await isTracked(domain, folder, disk))) lost.add(disk.target)
  }
  await beginWith(all.map(disk => (lost.has(disk.target) ? { ...disk, since: null } : disk)))
  return lost
}

/** Whether a job of this disk alone can be begun: a probe, which is ended at once. */
async function isTracked(
  domain: Domain,
  folder: ScratchFolder,
  disk: BackupDisk,
): Promise<boolean> {
  try {
    const xml = backupXml({ socket: folder.socket, disks: [disk] })
    await domain.beginBackup({ backupXml: xml, checkpointXml: null })
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_ERRORS.checkpointInconsistent)) return false
    throw error
  }
  await endBackup(domain)
  return true
}

function frozenDomain(
  domain: Domain,
  folder: ScratchFolder,
  { disks, lost }: Pick<FreezeOptions, 'disks'> & { readonly lost: ReadonlySet<string> },
): FrozenDomain {
  return {
    disks: disks.map(({ target, since }) => ({
      target,
      uri: `nbd+unix:///${target}?socket=${encodeURIComponent(folder.socket)}`,
      bitmap: since === null || lost.has(target) ? null : bitmapName(target),
    })),
    async [Symbol.asyncDispose]() {
      // Its files go only when QEMU has let go of them.
      await endBackup(domain)
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** Deletes a checkpoint, or finds it gone; also one whose bitmaps are, which libvirt will not do by itself. */
export async function deleteCheckpoint(domain: Domain, name: string): Promise<void> {
  try {
    await domain.deleteCheckpoint(name)
  } catch (error) {
    if (isLibvirtError(error, LIBVIRT_ERRORS.noDomainCheckpoint)) return
    if (!(error instanceof MoverError) || !(await domain.state()).isActive) throw error
    await domain.deleteCheckpoint(name, { isMetadataOnly: true })
  }
}
