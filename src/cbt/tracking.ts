/** What keeps account of the changes of a volume, as far as it can be seen from its source. */

export interface Tracking {
  /** As the caller named it. */
  readonly source: string
  readonly kind: 'file' | 'block' | 'nbd' | 'qcow2'
  readonly volumeBytes: number
  /** The raw device or file whose bitmaps an image keeps: it may be the source of a backup itself. */
  readonly dataFile: string | null
  readonly trackers: readonly Tracker[]
  /** Why nothing of it can be used, where that is not a single tracker's fault. */
  readonly reason: string | null
  /** What to do where there is nothing to use. */
  readonly remedy: string | null
}

/** One dirty bitmap, or libvirt's checkpoint of a disk, which is one. */
export interface Tracker {
  readonly kind: 'qcow2-bitmap' | 'nbd-bitmap' | 'qemu-bitmap' | 'libvirt-checkpoint'
  readonly name: string
  /** Whether mover has made it, for its own backups of a machine: they use no other, and remove it. */
  readonly isOwn: boolean
  /** Bytes that one bit stands for; null where it is not told. */
  readonly granularityBytes: number | null
  /** Bytes that it calls changed; null where it cannot be believed. */
  readonly dirtyBytes: number | null
  readonly flags: readonly TrackerFlag[]
  /** What it vouches for. */
  readonly health: 'exact' | 'superset' | 'lost'
  /** Why it is lost; null where it is not. */
  readonly reason: string | null
  /** What `--changes` takes, but for its `since`; null where it is lost, and of a machine that runs. */
  readonly changes: string | null
  readonly remedy: string | null
}

export type TrackerFlag =
  | 'recording'
  | 'in-use'
  | 'unknown-flags'
  | 'unknown-data'
  /** A job or an export has it. */
  | 'busy'
  /** It outlives QEMU, where that ends in order. */
  | 'persistent'
  | 'inconsistent'

/** Whether mover calls its own bitmaps so: in QEMU `mover-LINEAGE-ID`, in a domain as its checkpoints. */
export function isOwnName(name: string): boolean {
  return /^mover-[0-9a-f]{16}(-[0-9a-f]{16})?$/.test(name)
}
