import type { AbortOptions } from '../core/abort.js'
import type { StatedExtent } from '../core/extent.js'

/**
 * Where the bytes of a frozen volume come from. The native core reads it through `handle`, one
 * descriptor shared by every thread, so that all of them read the same inode whatever happens to
 * the path meanwhile.
 */
export interface Source extends AsyncDisposable {
  readonly kind: 'file' | 'block' | 'nbd' | 'qcow2'
  /** As the caller named it: data for messages and for the manifest, never opened again. */
  readonly name: string
  readonly volumeBytes: number
  /** The native descriptor. It is closed with the source. */
  readonly handle: number
  /** Says which object was read: device and inode, the device number, the URI, or the image. */
  readonly identity: string

  /**
   * Yields ordered, gap-free extents of state `data` or `zero`, where the source vouches for its
   * holes; null where it does not know. A hole is only ever "reads as zero", never "clean".
   */
  allocated(options?: AbortOptions): AsyncIterable<StatedExtent> | null

  /** Throws SOURCE_CHANGED when the source is not what it was when it was opened. */
  checkUnchanged(): void | Promise<void>
}
