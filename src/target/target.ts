/**
 * Where restored bytes go. The native core writes through `handle`; nothing is promised about the
 * target until `finish` has returned.
 */
export interface Target extends AsyncDisposable {
  readonly kind: 'file' | 'block' | 'nbd' | 'qcow2'
  readonly name: string
  /** To be asked for after `prepare` only. */
  readonly handle: number
  /** Whether there was nothing of its name: a restore that fails leaves nothing either. */
  readonly isNew: boolean
  /** Bytes it held when it was opened; a file is grown by `prepare`. */
  readonly bytes: number
  /** True only where every byte not yet written is known to read as zero. */
  readonly readsAsZero: boolean

  /** Makes room for the volume. A file only grows here: what it holds may still be needed. */
  prepare(volumeBytes: number): Promise<void>

  /** Flushes every byte to the medium and drops what the kernel has cached of it. */
  flush(): Promise<void>

  /** After the flush: a file gets its exact length and its name. */
  finish(volumeBytes: number): Promise<void>
}
