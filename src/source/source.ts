import type { AbortOptions } from '../core/abort.js'
import type { Extent, StatedExtent } from '../core/extent.js'

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
   * Yields ordered extents of state `data` or `zero` that tell at least what of `within`, whose extents
   * ascend, are holes that the source vouches for: what is not told may hold data. Null where it knows of
   * none. A hole is only ever "reads as zero", never "clean".
   */
  allocated(within: Iterable<Extent>, options?: AbortOptions): AsyncIterable<StatedExtent> | null

  /** Throws SOURCE_CHANGED when the source is not what it was when it was opened. */
  checkUnchanged(): void | Promise<void>
}
