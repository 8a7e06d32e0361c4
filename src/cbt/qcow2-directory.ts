import { BigEndian, flagsBeside, hasFlag, utf8 } from './big-endian.js'
import { refusalOf, type ImageRules, type Qcow2Header } from './qcow2-header.js'

/** A bitmap as the directory of an image tells of it; whether it can be believed is another question. */
export interface Qcow2Bitmap {
  readonly name: string
  /** A multiple of a cluster. */
  readonly tableOffset: number
  readonly tableEntries: number
  /** Log2 of the bytes that one bit stands for. */
  readonly granularityBits: number
  /** It was opened for writing and not written back: what it says may be old. */
  readonly isInUse: boolean
  /** Writes are recorded in it whenever the image is written to. */
  readonly isRecording: boolean
  /** A flag that is reserved is set. */
  readonly hasUnknownFlags: boolean
  /** There is more to it that we do not know, and without which it must not be used. */
  readonly hasUnknownData: boolean
  /** Of the only type there is. */
  readonly isDirtyBitmap: boolean
}

const ENTRY_BYTES = 24
const NAME_BYTES_MAX = 1023
const DIRTY_TRACKING = 1
const FLAG = { inUse: 1n, auto: 2n, extraDataCompatible: 4n } as const
const FLAGS_KNOWN = 0b111n

/**
 * Reads the directory of bitmaps, which must have as many entries as the header says, to the byte.
 * Throws an error of the rules' code for what is none.
 */
export function parseBitmapDirectory(
  bytes: Uint8Array,
  { count, clusterBytes }: Pick<Qcow2Header, 'clusterBytes'> & { readonly count: number },
  rules: ImageRules,
): readonly Qcow2Bitmap[] {
  const refuse = refusalOf(rules)
  const input = new BigEndian(bytes)
  const bitmaps: Qcow2Bitmap[] = []
  const names = new Set<string>()
  let at = 0
  while (at < bytes.length) {
    if (bitmaps.length === count) throw refuse(`it has more bitmaps than ${count}`)
    if (bytes.length - at < ENTRY_BYTES) throw refuse('its directory of bitmaps is cut off')
    const nameBytes = input.u16(at + 18)
    const extraBytes = input.u32(at + 20)
    const length = Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8
    if (length > bytes.length - at) throw refuse('its directory of bitmaps is cut off')
    if (nameBytes === 0 || nameBytes > NAME_BYTES_MAX) {
      throw refuse(`the name of a bitmap has ${nameBytes} bytes`)
    }
    const nameAt = at + ENTRY_BYTES + extraBytes
    const name = utf8(input.slice(nameAt, nameBytes))
    if (name === null) throw refuse('the name of a bitmap is not UTF-8')
    if (names.has(name)) throw refuse(`it has two bitmaps called '${name}'`)
    const padding = input.slice(nameAt + nameBytes, at + length - nameAt - nameBytes)
    if (padding.some(byte => byte !== 0)) throw refuse('its directory of bitmaps has odd padding')
    const tableOffset = input.u64(at)
    // One that is not sound makes the directory one that is not, whichever bitmap is asked for.
    if (tableOffset === null || tableOffset === 0 || tableOffset % clusterBytes !== 0) {
      throw refuse(`the table of bitmap '${name}' does not begin at a cluster`)
    }
    names.add(name)
    bitmaps.push({ name, tableOffset, ...entryOf(input, at) })
    at += length
  }
  if (bitmaps.length !== count) throw refuse(`it has ${bitmaps.length} bitmaps and not ${count}`)
  return bitmaps
}

function entryOf(input: BigEndian, at: number): Omit<Qcow2Bitmap, 'name' | 'tableOffset'> {
  const flags = input.flags32(at + 12)
  const extraBytes = input.u32(at + 20)
  return {
    tableEntries: input.u32(at + 8),
    granularityBits: input.u8(at + 17),
    isInUse: hasFlag(flags, FLAG.inUse),
    isRecording: hasFlag(flags, FLAG.auto),
    hasUnknownFlags: flagsBeside(flags, FLAGS_KNOWN) !== 0n,
    hasUnknownData: extraBytes > 0 && !hasFlag(flags, FLAG.extraDataCompatible),
    isDirtyBitmap: input.u8(at + 16) === DIRTY_TRACKING,
  }
}
