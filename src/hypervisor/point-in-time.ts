/**
 * What every hypervisor gives: one point in time of some disks of a machine, to be read while a machine that
 * runs goes on writing, and what changed on each disk since the last backup.
 *
 * The order is fixed, and `src/backup-machine.ts` keeps it: `begin` first puts right what a killed run
 * left behind, then freezes every disk at one moment and starts a new checkpoint for each; a disk is
 * `committed` when its manifest is durable, and only then is the old checkpoint given up; disposing
 * ends the point in time, and gives the disks that were not committed their old checkpoint back.
 */
import type { AbortOptions } from '../core/abort.js'
import type { MoverEvent } from '../core/progress.js'
import type { Tracker } from '../cbt/tracking.js'

/** A machine, running or off, and the disks of it that were asked for. Disposing of it closes the way to it. */
export interface Machine extends AsyncDisposable {
  /** As the caller named it: data for messages. */
  readonly name: string
  /** In the order asked for, none twice. */
  readonly disks: readonly MachineDisk[]
  /** Whether the caller named one disk, whose volume then has the very name that was given. */
  readonly isOneDisk: boolean

  /**
   * Recovers, then freezes all disks at one moment. Throws HYPERVISOR_REFUSED where somebody else is at
   * it, and HYPERVISOR_FAILED; whatever was begun is undone by then.
   */
  begin(request: BeginRequest): Promise<PointInTime>

  /** Tells what keeps account of the changes of its disks at this moment, and changes nothing. */
  tracked(options?: AbortOptions): Promise<readonly TrackedDisk[]>
}

/** What keeps account of the changes of a disk, as far as its hypervisor knows. */
export interface TrackedDisk extends MachineDisk {
  readonly trackers: readonly Tracker[]
  /** Why the next backup cannot be had, or reads all, where that is not a single tracker's fault. */
  readonly reason: string | null
  readonly remedy: string | null
  /** `qcow2:FILE` of a disk whose machine is off: what is in the image holds, not what is listed. */
  readonly image: string | null
}

export interface MachineDisk {
  /** As the hypervisor knows it: `disk0`, `vda`. It ends the volume's name where there are several. */
  readonly name: string
  readonly volumeBytes: number
}

export interface BeginRequest extends AbortOptions {
  /** One for each disk, in their order. */
  readonly histories: readonly DiskHistory[]
  /** Says what was recovered, and what else a person should know. */
  readonly emit: (event: MoverEvent) => void
}

/** What the repository knows of a disk. */
export interface DiskHistory {
  readonly disk: string
  /**
   * 16 hex digits that stand for one volume of one repository. Names of checkpoints carry it, because a
   * machine may be backed up to several repositories, and each has checkpoints of its own.
   */
  readonly lineage: string
  /**
   * Checkpoints of the volume's manifests, oldest first. One that is not here was never committed, or its
   * manifest is gone or damaged: either way nothing can be built on it.
   */
  readonly committed: readonly string[]
  /** Which disk it was, by the checkpoints of `committed`: what `FrozenDisk.identity` said then. */
  readonly identities: ReadonlyMap<string, string>
}

/** A moment of a machine, for as long as it is not disposed of. */
export interface PointInTime extends AsyncDisposable {
  /** In the order of the machine's. */
  readonly disks: readonly FrozenDisk[]
  /** What describes the machine at that moment; kept with the manifest of every disk. */
  readonly attachments: readonly MachineAttachment[]

  /**
   * Aborted, with a MoverError, once it is known that the view is void or has to be given up: reading on
   * is of no use. Absent where that is only seen by `check`.
   */
  readonly voided?: AbortSignal

  /** Throws when the frozen view is no longer what it was: a backup that ends after that is void. */
  check(): Promise<void>

  /** To be called when the manifest of a disk is durable: gives its old checkpoint up. */
  committed(disk: string): Promise<void>
}

export interface FrozenDisk {
  readonly name: string
  readonly volumeBytes: number
  /** What the frozen bytes are read from: an NBD URI, or a path. */
  readonly source: string
  /** Which disk it is, for the manifest: nothing that changes from one run to the next. */
  readonly identity: string
  /** The name of the checkpoint that counts from this moment; it goes into the manifest. */
  readonly checkpoint: string
  readonly tracking: DiskTracking
}

/** What is known to have changed since an earlier checkpoint. */
export type DiskTracking =
  | {
      readonly kind: 'tracked'
      /** The export and the dirty bitmap of it: `qemu:dirty-bitmap:BITMAP`. */
      readonly uri: string
      readonly bitmap: string
      /** The checkpoint that it counts from: one of the disk's `committed`. */
      readonly since: string
    }
  | {
      readonly kind: 'image'
      /** A qcow2 image that nobody has open, and the dirty bitmap in it, which has its checkpoint's name. */
      readonly path: string
      readonly since: string
    }
  /** Costs this disk a rescan: half a sentence, at most 60 characters. */
  | { readonly kind: 'lost'; readonly reason: string }

export interface MachineAttachment {
  readonly name: string
  /** A media type. */
  readonly type: string
  readonly content: Uint8Array
}
