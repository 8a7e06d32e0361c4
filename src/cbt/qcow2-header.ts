/**
 * The header of a qcow2 image and its extensions, as QEMU's docs/interop/qcow2.txt has them. Only what
 * a reader of bitmaps has to know is kept. Images come from strangers: nothing is believed unchecked.
 */
import { MoverError, type MoverErrorCode } from '../core/errors.js'
import {
  QCOW2_BITMAPS_MAX,
  QCOW2_CLUSTER_BYTES_MAX,
  QCOW2_DIRECTORY_BYTES_MAX,
} from '../core/limits.js'
import { BigEndian, flagsBeside, hasFlag, utf8 } from './big-endian.js'

/** What the header says. */
export interface Qcow2Header {
  readonly version: 2 | 3
  readonly clusterBytes: number
  /** Size of the disk in the image. */
  readonly volumeBytes: number
  /** Bit 0 of the incompatible features: the reference counts may be wrong. */
  readonly isDirty: boolean
  /** Bit 1: any structure may be wrong. */
  readonly isCorrupt: boolean
  /** A bit that nobody had given a meaning when this was written: such an image must not be read. */
  readonly hasUnknownFeatures: boolean
  readonly isEncrypted: boolean
  readonly backing: Qcow2Backing | null
  readonly dataFile: Qcow2DataFile | null
  /** The bitmaps extension; null where there is none, or none that means anything. */
  readonly bitmaps: Qcow2BitmapsExtension | null
  /** There were bitmaps, and then a writer that did not know them: they miss its writes. */
  readonly areBitmapsDropped: boolean
}

/** The image that an overlay lies on. */
export interface Qcow2Backing {
  readonly file: string
  /** Null where it is not said, so that it would have to be guessed from bytes of the guest's. */
  readonly format: string | null
}

/** Where the bytes of the disk are, when they are not in the image itself. */
export interface Qcow2DataFile {
  /** Null where the image does not name it. */
  readonly file: string | null
  /** Whether it is the disk, byte for byte. */
  readonly isRaw: boolean
}

/** Where the directory of bitmaps is. */
export interface Qcow2BitmapsExtension {
  readonly count: number
  readonly directoryOffset: number
  readonly directoryBytes: number
}

/** How an image is called in messages, and the code of the error where it is none. */
export interface ImageRules {
  readonly name: string
  readonly code: MoverErrorCode
}

const HEADER_BYTES_V2 = 72
const HEADER_BYTES_V3_MIN = 104

const FIELDS = {
  version: 4,
  backingOffset: 8,
  backingBytes: 16,
  clusterBits: 20,
  volumeBytes: 24,
  cryptMethod: 32,
  l1Entries: 36,
  l1Offset: 40,
  refcountOffset: 48,
  refcountClusters: 56,
  snapshots: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  autoclear: 88,
  refcountOrder: 96,
  headerBytes: 100,
} as const

const EXTENSION = {
  end: 0,
  backingFormat: 0xe279_2aca,
  bitmaps: 0x2385_2875,
  dataFile: 0x4441_5441,
} as const

const INCOMPATIBLE = { dirty: 1n, corrupt: 2n, dataFile: 4n, extendedL2: 16n } as const
/** Those, and the type of compression, of which bitmaps need to know nothing. */
const INCOMPATIBLE_KNOWN = 0b1_1111n
const AUTOCLEAR = { bitmaps: 1n, rawDataFile: 2n } as const

const CLUSTER_BITS_MIN = 9
const BACKING_NAME_BYTES_MAX = 1023
const CRYPT_METHOD_MAX = 2
const REFCOUNT_ORDER_MAX = 6
/** As QEMU: no image has more, whatever its size. */
const L1_ENTRIES_MAX = 4 * 1024 * 1024
const REFCOUNT_TABLE_BYTES_MAX = 8 * 1024 * 1024
const SNAPSHOTS_MAX = 65_536
const BITMAPS_EXTENSION_BYTES = 24

/** Whether a file or a volume begins as a qcow2 image does. */
export function beginsAsQcow2(bytes: Uint8Array): boolean {
  return bytes[0] === 0x51 && bytes[1] === 0x46 && bytes[2] === 0x49 && bytes[3] === 0xfb
}

/** Enough to begin with, and all of most headers. */
export const QCOW2_HEAD_BYTES = 64 * 1024

/** Bytes of the first cluster, of which the header is read, by the first bytes of an image. */
export function headerBytesOf(head: Uint8Array): number {
  const bits = head[FIELDS.clusterBits + 3] ?? 0
  return Math.min(Math.max(2 ** bits, QCOW2_HEAD_BYTES), QCOW2_CLUSTER_BYTES_MAX)
}

/**
 * Reads the header from the first bytes of an image: its first cluster, or all of a shorter file. Throws an error of the rules' code for what is no header of version 2 or 3.
 */
export function parseQcow2Header(bytes: Uint8Array, rules: ImageRules): Qcow2Header {
  const refuse = refusalOf(rules)
  if (!beginsAsQcow2(bytes)) throw refuse('it does not begin as one')
  if (bytes.length < HEADER_BYTES_V2) throw refuse('its header is cut off')
  const input = new BigEndian(bytes)
  const version = input.u32(FIELDS.version)
  if (version !== 2 && version !== 3) throw refuse(`version ${version} is not known`)
  const { clusterBytes, volumeBytes } = sizesOf(input, refuse)
  const cryptMethod = input.u32(FIELDS.cryptMethod)
  if (cryptMethod > CRYPT_METHOD_MAX) throw refuse(`encryption ${cryptMethod} is not known`)
  const features = featuresOf(input, { version, clusterBytes, refuse })
  const { incompatible, autoclear } = features
  checkTables(input, { clusterBytes, volumeBytes, incompatible, refuse })
  const backing = backingName(input, { clusterBytes, refuse })
  const area = { from: features.headerBytes, until: backing?.offset ?? clusterBytes }
  const extensions = extensionsOf(input, area, refuse)
  const bitmaps = extensions.get(EXTENSION.bitmaps)
  // Without its bit the extension is only what somebody left, and need not be sound.
  const areBitmapsKept = hasFlag(autoclear, AUTOCLEAR.bitmaps)
  const hasDataFile = hasFlag(incompatible, INCOMPATIBLE.dataFile)
  if (hasFlag(autoclear, AUTOCLEAR.rawDataFile) && !hasDataFile) {
    throw refuse('its data file is raw, and it has none')
  }
  return {
    version,
    clusterBytes,
    volumeBytes,
    isDirty: hasFlag(incompatible, INCOMPATIBLE.dirty),
    isCorrupt: hasFlag(incompatible, INCOMPATIBLE.corrupt),
    hasUnknownFeatures: flagsBeside(incompatible, INCOMPATIBLE_KNOWN) !== 0n,
    isEncrypted: cryptMethod !== 0,
    backing:
      backing === null
        ? null
        : { file: backing.file, format: textOf(extensions, EXTENSION.backingFormat, refuse) },
    dataFile: hasDataFile
      ? {
          file: textOf(extensions, EXTENSION.dataFile, refuse),
          isRaw: hasFlag(autoclear, AUTOCLEAR.rawDataFile),
        }
      : null,
    bitmaps: areBitmapsKept ? bitmapsExtension(bitmaps, { clusterBytes, refuse }) : null,
    areBitmapsDropped: bitmaps !== undefined && !areBitmapsKept,
  }
}

type Refuse = (why: string) => MoverError

/** Makes the error of an image that is none. */
export function refusalOf({ name, code }: ImageRules): Refuse {
  const stage = code === 'CHANGES_MALFORMED' ? 'plan' : 'open'
  return why =>
    new MoverError(code, `${name} is not a sound qcow2 image: ${why}`, {
      stage,
      remedy: `qemu-img check ${name} says what QEMU finds wrong with it, and qemu-img info what it is`,
    })
}

interface Known {
  readonly clusterBytes: number
  readonly refuse: Refuse
}

function sizesOf(
  input: BigEndian,
  refuse: Refuse,
): { readonly clusterBytes: number; readonly volumeBytes: number } {
  const clusterBits = input.u32(FIELDS.clusterBits)
  const clusterBytes = clusterBits < CLUSTER_BITS_MIN ? 0 : 2 ** clusterBits
  if (clusterBytes === 0 || clusterBytes > QCOW2_CLUSTER_BYTES_MAX) {
    throw refuse(`clusters of 2^${clusterBits} bytes are none`)
  }
  const volumeBytes = input.u64(FIELDS.volumeBytes)
  if (volumeBytes === null) throw refuse('its disk is larger than any volume')
  return { clusterBytes, volumeBytes }
}

interface Features {
  readonly incompatible: bigint
  readonly autoclear: bigint
  readonly headerBytes: number
}

/** Version 2 ends before them, and has none. */
function featuresOf(
  input: BigEndian,
  { version, clusterBytes, refuse }: Known & { readonly version: 2 | 3 },
): Features {
  if (version === 2) return { incompatible: 0n, autoclear: 0n, headerBytes: HEADER_BYTES_V2 }
  if (input.bytes.length < HEADER_BYTES_V3_MIN) throw refuse('its header is cut off')
  const headerBytes = input.u32(FIELDS.headerBytes)
  const isWhole = headerBytes >= HEADER_BYTES_V3_MIN && headerBytes <= clusterBytes
  if (!isWhole || headerBytes % 8 !== 0) throw refuse(`a header of ${headerBytes} bytes is none`)
  const order = input.u32(FIELDS.refcountOrder)
  if (order > REFCOUNT_ORDER_MAX) throw refuse(`reference counts of 2^${order} bits are none`)
  return {
    incompatible: input.flags64(FIELDS.incompatible),
    autoclear: input.flags64(FIELDS.autoclear),
    headerBytes,
  }
}

/** The tables of the disk are not read here; but a header that is wrong in them is wrong. */
function checkTables(
  input: BigEndian,
  disk: Known & { readonly volumeBytes: number; readonly incompatible: bigint },
): void {
  const { clusterBytes, volumeBytes, incompatible, refuse } = disk
  const l2EntryBytes = hasFlag(incompatible, INCOMPATIBLE.extendedL2) ? 16 : 8
  // An entry of the first table leads to a cluster of entries, each of which leads to a cluster.
  const l1EntriesMin = Math.ceil(volumeBytes / (clusterBytes * (clusterBytes / l2EntryBytes)))
  const l1Entries = input.u32(FIELDS.l1Entries)
  const refcountClusters = input.u32(FIELDS.refcountClusters)
  const snapshots = input.u32(FIELDS.snapshots)
  const tables = [
    { offset: FIELDS.l1Offset, isOk: l1Entries >= l1EntriesMin && l1Entries <= L1_ENTRIES_MAX },
    {
      offset: FIELDS.refcountOffset,
      isOk: refcountClusters > 0 && refcountClusters * clusterBytes <= REFCOUNT_TABLE_BYTES_MAX,
    },
    { offset: FIELDS.snapshotsOffset, isOk: snapshots <= SNAPSHOTS_MAX },
  ]
  for (const { offset, isOk } of tables) {
    const place = input.u64(offset)
    if (place === null || place % clusterBytes !== 0 || !isOk) {
      throw refuse(`the table that byte ${offset} of its header points to is none`)
    }
  }
}

/** The name of the image below, which lies behind the extensions in the first cluster. */
function backingName(
  input: BigEndian,
  { clusterBytes, refuse }: Known,
): { readonly offset: number; readonly file: string } | null {
  const offset = input.u64(FIELDS.backingOffset)
  if (offset === 0) return null
  const length = input.u32(FIELDS.backingBytes)
  const end = Math.min(clusterBytes, input.bytes.length)
  if (offset === null || length === 0 || length > BACKING_NAME_BYTES_MAX || length > end - offset) {
    throw refuse('the name of its backing file lies outside of its header')
  }
  const file = utf8(input.slice(offset, length))
  if (file === null) throw refuse('the name of its backing file is not UTF-8')
  return { offset, file }
}

type Extensions = ReadonlyMap<number, Uint8Array>

/** The extensions by type. Those that we do not know may be ignored, as the format says. */
function extensionsOf(
  input: BigEndian,
  { from, until }: { readonly from: number; readonly until: number },
  refuse: Refuse,
): Extensions {
  const end = Math.min(until, input.bytes.length)
  const known = new Set<number>(Object.values(EXTENSION))
  const found = new Map<number, Uint8Array>()
  let at = from
  while (at + 8 <= end) {
    const type = input.u32(at)
    if (type === EXTENSION.end) break
    const length = input.u32(at + 4)
    if (length > end - at - 8) throw refuse(`the extension at ${at} does not fit its header`)
    if (found.has(type)) throw refuse(`it has two extensions of type ${type.toString(16)}`)
    if (known.has(type)) found.set(type, input.slice(at + 8, length))
    at += 8 + Math.ceil(length / 8) * 8
  }
  return found
}

function textOf(extensions: Extensions, type: number, refuse: Refuse): string | null {
  const bytes = extensions.get(type)
  if (bytes === undefined) return null
  const text = utf8(bytes)
  if (text === null) throw refuse(`its extension ${type.toString(16)} is not UTF-8`)
  return text
}

function bitmapsExtension(
  bytes: Uint8Array | undefined,
  { clusterBytes, refuse }: Known,
): Qcow2BitmapsExtension | null {
  if (bytes === undefined) return null
  if (bytes.length !== BITMAPS_EXTENSION_BYTES) throw refuse('its bitmaps extension is cut off')
  const input = new BigEndian(bytes)
  const [count, reserved] = [input.u32(0), input.u32(4)]
  const [directoryBytes, directoryOffset] = [input.u64(8), input.u64(16)]
  if (count === 0 || count > QCOW2_BITMAPS_MAX) throw refuse(`it has ${count} bitmaps`)
  if (reserved !== 0) throw refuse('its bitmaps extension uses what is reserved')
  if (directoryBytes === null || directoryBytes > QCOW2_DIRECTORY_BYTES_MAX) {
    throw refuse('its directory of bitmaps is larger than any')
  }
  if (directoryOffset === null) throw refuse('its directory of bitmaps lies beyond any file')
  if (directoryOffset === 0 || directoryOffset % clusterBytes !== 0) {
    throw refuse('its directory of bitmaps does not begin at a cluster')
  }
  return { count, directoryOffset, directoryBytes }
}

/** Whether QEMU takes the name for a path: what has a colon before any slash is json:… or a protocol. */
export function isLocalPath(file: string): boolean {
  return !/^[^/]*:/.test(file)
}
