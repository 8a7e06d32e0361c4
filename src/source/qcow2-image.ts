import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { StatedExtent } from '../core/extent.js'
import { dirtyExtents } from '../cbt/dirty-bitmap.js'
import { parseBitmapDirectory, type Qcow2Bitmap } from '../cbt/qcow2-directory.js'
import {
  headerBytesOf,
  parseQcow2Header,
  QCOW2_HEAD_BYTES,
  refusalOf,
  type ImageRules,
  type Qcow2Header,
} from '../cbt/qcow2-header.js'
import {
  bitmapTable,
  parseTableEntries,
  TABLE_ENTRY_BYTES,
  type BitmapTable,
  type ClusterBits,
} from '../cbt/qcow2-table.js'
import { loadAddon, native, type DeviceInfo } from '../native/addon.js'

/** A qcow2 image that is open for reading; nothing of its disk is read through it. */
export interface Qcow2Image extends AsyncDisposable {
  readonly path: string
  /** The open file, as it was when it was opened. */
  readonly file: DeviceInfo
  readonly header: Qcow2Header
  /** Says which file it is, as the identity of a source does. */
  readonly identity: string
  /**
   * Whether it is held as QEMU's readers hold an image: nobody that keeps to QEMU's locks writes to it
   * until it is closed. False where somebody has it open for writing.
   */
  readonly isHeld: boolean

  /** The directory as it is now; empty where there are no bitmaps that mean anything. */
  bitmaps(): Promise<readonly Qcow2Bitmap[]>

  /**
   * What a healthy bitmap calls dirty, in order, and nothing else. The file is read a cluster at a time,
   * so that memory does not depend on the volume.
   */
  dirty(bitmap: Qcow2Bitmap, options?: AbortOptions): AsyncGenerator<StatedExtent>
}

/** Entries of a table read at a time. */
const TABLE_PIECE_BYTES = 1024 * 1024

/**
 * Opens an image. Throws SOURCE_UNUSABLE for what may not be read, and an error of the rules' code, now
 * or while it is read, for what is no image.
 */
export async function openQcow2Image(path: string, rules: ImageRules): Promise<Qcow2Image> {
  const opened = native(addon => addon.openSource(path, true), 'open')
  const { handle, bytes: fileBytes } = opened
  const close = () => {
    loadAddon().closeDevice(handle)
  }
  const read: Read = async (offset, length) => {
    // A length from the file must not become memory before it is known to be there.
    if (length > fileBytes - offset)
      throw refusalOf(rules)(`it ends before byte ${offset + length}`)
    return native(addon => addon.readPiece(handle, offset, length), 'plan')
  }
  try {
    // A block device's own buffers could be older than what another host wrote.
    if (opened.kind === 'block') await native(addon => addon.syncDevice(handle), 'open')
    const isHeld = native(addon => addon.holdImage(handle), 'open')
    const head = await read(0, Math.min(fileBytes, QCOW2_HEAD_BYTES))
    const whole = Math.min(fileBytes, headerBytesOf(head))
    const header = parseQcow2Header(whole > head.length ? await read(0, whole) : head, rules)
    return {
      path,
      file: opened,
      header,
      identity: qcow2Identity(opened),
      isHeld,
      bitmaps: () => readDirectory(read, { header, rules }),
      dirty: (bitmap, options) =>
        readDirty(read, { table: bitmapTable(bitmap, header, rules), header, rules }, options),
      async [Symbol.asyncDispose]() {
        close()
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** What tells an image from another, whatever path leads to it. */
export function qcow2Identity(file: {
  readonly kind: 'file' | 'block'
  readonly device: string
  readonly inode: string
}): string {
  const { kind, device, inode } = file
  return kind === 'file' ? `qcow2 file ${device} ${inode}` : `qcow2 block ${device}`
}

type Read = (offset: number, length: number) => Promise<Uint8Array>

interface Reading {
  readonly header: Qcow2Header
  readonly rules: ImageRules
}

async function readDirectory(
  read: Read,
  { header, rules }: Reading,
): Promise<readonly Qcow2Bitmap[]> {
  if (header.bitmaps === null) return []
  const { directoryOffset, directoryBytes, count } = header.bitmaps
  const { clusterBytes } = header
  const bytes = await read(directoryOffset, directoryBytes)
  return parseBitmapDirectory(bytes, { count, clusterBytes }, rules)
}

async function* readDirty(
  read: Read,
  { table, header, rules }: Reading & { readonly table: BitmapTable },
  options?: AbortOptions,
): AsyncGenerator<StatedExtent> {
  const entriesPerPiece = TABLE_PIECE_BYTES / TABLE_ENTRY_BYTES
  for (let first = 0; first < table.entries; first += entriesPerPiece) {
    const count = Math.min(entriesPerPiece, table.entries - first)
    const piece = await read(table.offset + first * TABLE_ENTRY_BYTES, count * TABLE_ENTRY_BYTES)
    for (const [index, bits] of parseTableEntries(piece, table, rules).entries()) {
      throwIfAborted(options)
      const offset = (first + index) * table.coverageBytes
      const length = Math.min(table.coverageBytes, header.volumeBytes - offset)
      yield* await dirtyOfCluster(read, bits, { table, offset, length })
    }
  }
}

/** The dirty extents of the part of the volume that one cluster of bits speaks of. */
async function dirtyOfCluster(
  read: Read,
  bits: ClusterBits,
  part: { readonly table: BitmapTable; readonly offset: number; readonly length: number },
): Promise<Iterable<StatedExtent>> {
  const { table, offset, length } = part
  if (bits === 'clean') return []
  if (bits === 'dirty') return [{ offset, length, state: 'data' }]
  const granules = Math.ceil(length / table.granularityBytes)
  const bytes = await read(bits, Math.ceil(granules / 8))
  const { granularityBytes } = table
  return shifted(dirtyExtents(bytes, { granularityBytes, volumeBytes: length }), offset)
}

function* shifted(
  extents: Iterable<{ readonly offset: number; readonly length: number }>,
  by: number,
): Generator<StatedExtent> {
  for (const { offset, length } of extents) yield { offset: offset + by, length, state: 'data' }
}
