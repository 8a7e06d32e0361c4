/** The XML that begins a backup job and makes a checkpoint: libvirt's docs/formatbackup.rst and formatcheckpoint.rst. */
import { attributeOf, childOf, childrenOf, escapeXml, parseXml } from './xml.js'

/** A disk of a backup job. */
export interface BackupDisk {
  readonly target: string
  /** The checkpoint since which its changes are asked for; null where they are not. */
  readonly since: string | null
  /** A file that libvirt makes, writes the bytes to that the guest overwrites, and removes. */
  readonly scratch: string
}

export interface BackupJobPlan {
  /** Path of the Unix socket that QEMU will serve the disks on. */
  readonly socket: string
  readonly disks: readonly BackupDisk[]
}

/** Name of the bitmap that an export shows, where it shows one. */
export function bitmapName(target: string): string {
  return `backup-${target}`
}

/** A pull-mode backup job. Each disk is asked for its own changes: one may have lost what others have. */
export function backupXml({ socket, disks }: BackupJobPlan): string {
  return [
    `<domainbackup mode='pull'>`,
    `<server transport='unix' socket='${escapeXml(socket)}'/>`,
    `<disks>${disks.map(backupDiskXml).join('')}</disks>`,
    `</domainbackup>`,
  ].join('')
}

function backupDiskXml({ target, since, scratch }: BackupDisk): string {
  const mode =
    since === null
      ? `backupmode='full'`
      : `backupmode='incremental' incremental='${escapeXml(since)}' exportbitmap='${bitmapName(target)}'`
  return (
    `<disk name='${target}' backup='yes' type='file' ${mode} exportname='${target}'>` +
    `<scratch file='${escapeXml(scratch)}'/></disk>`
  )
}

export interface CheckpointPlan {
  readonly name: string
  /** For people who find it. */
  readonly description: string
  /** Disks that get a bitmap. */
  readonly targets: readonly string[]
  /** All other disks of the domain: one that is not named would get one too. */
  readonly others: readonly string[]
}

/** A checkpoint. */
export function checkpointXml({ name, description, targets, others }: CheckpointPlan): string {
  const disk = (target: string, kind: string) => `<disk name='${target}' checkpoint='${kind}'/>`
  return [
    `<domaincheckpoint><name>${escapeXml(name)}</name>`,
    `<description>${escapeXml(description)}</description><disks>`,
    ...targets.map(target => disk(target, 'bitmap')),
    ...others.map(target => disk(target, 'no')),
    `</disks></domaincheckpoint>`,
  ].join('')
}

/** What a checkpoint says of itself. */
export interface CheckpointFacts {
  readonly description: string
  /** Disks that it has a bitmap of. */
  readonly targets: readonly string[]
  /** Bytes written since to each disk of a running domain whose bitmaps are whole; empty where not asked for. */
  readonly sizes: ReadonlyMap<string, number>
}

/** Reads what `virDomainCheckpointGetXMLDesc` gives. */
export function checkpointFacts(xml: string): CheckpointFacts {
  const root = parseXml(xml)
  const disks = childrenOf(childOf(root, 'disks'), 'disk').filter(
    disk => attributeOf(disk, 'checkpoint') === 'bitmap',
  )
  const targets = disks.map(disk => attributeOf(disk, 'name') ?? '')
  const sizes = new Map<string, number>()
  for (const [position, disk] of disks.entries()) {
    const size = attributeOf(disk, 'size')
    if (size !== null && /^\d{1,15}$/.test(size)) sizes.set(targets[position] ?? '', Number(size))
  }
  return { description: childOf(root, 'description')?.text ?? '', targets, sizes }
}

/** What can be told of a backup job that is under way. */
export interface BackupJobFacts {
  readonly mode: string
  /** Where a pull-mode job serves; null where it is no Unix socket. */
  readonly socket: string | null
  readonly incremental: string | null
  readonly targets: readonly string[]
}

/** Reads what `virDomainBackupGetXMLDesc` gives. */
export function backupJobFacts(xml: string): BackupJobFacts {
  const root = parseXml(xml)
  const disks = childrenOf(childOf(root, 'disks'), 'disk')
  const taking = disks.filter(disk => attributeOf(disk, 'backup') !== 'no')
  return {
    mode: attributeOf(root, 'mode') ?? 'push',
    socket: attributeOf(childOf(root, 'server'), 'socket'),
    incremental: childOf(root, 'incremental')?.text ?? null,
    targets: taking.map(disk => attributeOf(disk, 'name') ?? ''),
  }
}
