/** The events of a job: one schema for the library's events and the JSON lines of the binary. */

/** What a job says while it runs; within a stage, counters never run backwards. */
export type MoverEvent = (StageEvent | ProgressEvent | WarningEvent | FallbackEvent | DamageEvent) &
  OfDisk

/** In a job of several disks, which one an event is of; absent where it is of all, or there is but one. */
export interface OfDisk {
  readonly disk?: string
}

/** A step begins: 'plan', 'read', 'audit', 'commit', 'flush', … */
export interface StageEvent {
  readonly type: 'stage'
  readonly stage: string
}

/** How far the stage is, and which part of the way holds it up. */
export interface ProgressEvent {
  readonly type: 'progress'
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly bytesPerSecond: number
  readonly etaSeconds: number | null
  readonly limitedBy: 'read' | 'compute' | 'write' | 'rate' | null
  /** Where the bytes of the volume went so far; null of anything but the reading of a backup. */
  readonly bytes: ByteOutcome | null
}

/** Something a person should look at; the job goes on. */
export interface WarningEvent {
  readonly type: 'warning'
  readonly code: string
  readonly message: string
}

/** The job does something else than was asked for, and why. */
export interface FallbackEvent {
  readonly type: 'fallback'
  readonly requested: string
  readonly mode: string
  readonly reason: string
  readonly message: string
}

/** Damage that verify has just found; the result lists it again. */
export interface DamageEvent {
  readonly type: 'damage'
  readonly damage: Damage
}

/** Where the bytes of a volume went: at the end, volume = carried + zero + deduplicated + stored. */
export interface ByteOutcome {
  readonly volume: number
  /** Bytes read from the source, the audit's not included. */
  readonly read: number
  readonly carried: number
  readonly zero: number
  readonly deduplicated: number
  readonly stored: number
  /** Of all objects made: packs, segments, manifest. A merge of segments removes what it replaces. */
  readonly written: number
}

/** One damaged or missing thing in a repository, and what can no longer be restored because of it. */
export interface Damage {
  readonly kind: 'pack' | 'segment' | 'manifest' | 'page' | 'chunk'
  readonly name: string
  readonly message: string
  /** Ids of the manifests it hits. */
  readonly manifests: readonly string[]
  /** The first 1,000. */
  readonly extents: readonly DamagedExtent[]
  /** How many there are. */
  readonly extentsInAll: number
}

/** Bytes of a manifest's volume that cannot be restored. */
export interface DamagedExtent {
  readonly manifest: string
  readonly offset: number
  readonly length: number
}
