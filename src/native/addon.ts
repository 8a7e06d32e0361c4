/**
 * Where JavaScript ends: the types of the native addon, and the two things done at the seam itself.
 * The addon is loaded when it is first needed, and its errors get their codes.
 *
 * All handles are numbers in a registry of the process, so every worker thread may use them.
 */
import { MoverError, isMoverErrorCode } from '../core/errors.js'
import type { MoverErrorCode, Stage } from '../core/errors.js'
import { packageVersion, requireAddon } from './installed.js'
import { nativeRemedy } from './native-remedy.js'

/** Every function that the addon exports; `native` is the way to call them. */
export interface Addon extends DeviceCalls, NbdCalls, IndexCalls, EncodeCalls, DecodeCalls {
  /** The version of the package that the addon was built from. */
  version(): string
}

/** One open descriptor a device, shared by all threads by means of pread and pwrite. */
export interface DeviceCalls {
  /** Opens a regular file or block device to read; `direct` is tried, and the answer says what came. */
  openSource(path: string, direct: boolean): DeviceInfo
  /** Opens a regular file or block device to read and write. */
  openTarget(path: string, options: TargetOptions): DeviceInfo
  /** Asks the descriptor again: size, times and inode as they are now. */
  deviceInfo(handle: number): DeviceInfo
  /** At most 64 MiB from any offset, for metadata: a volume's bytes are not read this way. */
  readPiece(handle: number, offset: number, length: number): Promise<Buffer>
  /**
   * Says with QEMU's own locks that the image is being read and must not be written, until it is closed.
   * False where a program that keeps to these locks has it open for writing.
   */
  holdImage(handle: number): boolean
  /** Makes everything written durable and drops what the page cache holds of it. */
  syncDevice(handle: number): Promise<void>
  /**
   * Pairs of offset and length of the holes in `within`, which are such pairs, ascending; the first `max` of
   * them: the rest is to be asked for from the end of the last one on.
   */
  holes(handle: number, within: Float64Array, max: number): Promise<Float64Array>
  /** Makes a regular file exactly `bytes` long. */
  truncateDevice(handle: number, bytes: number): Promise<void>
  /** Makes pairs of offset and length read back as zero, durable after `syncDevice`. */
  zeroRuns(handle: number, runs: Float64Array): Promise<void>
  /** Takes room in a file for pairs of offset and length that will be written. A hint: it fails for nothing. */
  reserveRuns(handle: number, runs: Float64Array): Promise<void>
  /** Closes the descriptor; the handle means nothing any more. */
  closeDevice(handle: number): void
}

/** What an open descriptor says of itself. */
export interface DeviceInfo {
  readonly handle: number
  readonly kind: 'file' | 'block'
  readonly bytes: number
  readonly readOnly: boolean
  readonly direct: boolean
  /** `major:minor` of the block device, or of the file system that holds the file. */
  readonly device: string
  readonly inode: string
  readonly mtimeNs: string
  readonly ctimeNs: string
}

/** How a target is opened: `create` makes a new file and never follows or reuses one. */
export interface TargetOptions {
  readonly create: boolean
  readonly exclusive: boolean
  readonly direct: boolean
}

/** Volumes on NBD servers: their handles are read, written, zeroed, synced and closed as devices' are. */
export interface NbdCalls {
  /** Connects, agrees and opens an export. */
  openNbd(options: NbdOpenOptions): Promise<NbdInfo>
  /** Opens as many connections as there may be: the way to the server may be gone afterwards. */
  connectNbdFully(handle: number): Promise<void>
  /** Ends every call on the volume, now and later, with CANCELLED. */
  interruptNbd(handle: number): void
  /** Pairs of end and flags, without gaps from `from` on: as much as the server said at once. */
  blockStatus(handle: number, context: string, from: number): Promise<Float64Array>
}

/** Has either a socket, or a host and a port. */
export interface NbdOpenOptions {
  readonly name: string
  readonly role: 'source' | 'target'
  readonly socket?: string
  readonly host?: string
  readonly port?: number
  readonly export: string
  /** Names, and namespaces, which end in a colon and stand for all that the server lists of them. */
  readonly contexts: readonly string[]
  /** Without it, all goes in plain. */
  readonly tls?: NbdTlsOptions
}

/** A file of keys, or else certificates. */
export interface NbdTlsOptions {
  readonly pskFile?: string
  readonly user?: string
  readonly certificates?: string
  /** Without it, the server need not prove who it is. */
  readonly server?: string
}

/** What a server says of an export. */
export interface NbdInfo {
  readonly handle: number
  readonly bytes: number
  readonly readOnly: boolean
  /** Whether `syncDevice` can make durable what was written. */
  readonly canSync: boolean
  /** Those of the wanted contexts that there are. */
  readonly contexts: readonly string[]
}

/** The chunk index: mapped segments that tell what the repository holds, and where. */
export interface IndexCalls {
  openIndex(repositoryId: Buffer): number
  closeIndex(index: number): void
  addSegments(index: number, paths: readonly string[]): Promise<void>
  listSegments(index: number): SegmentInfo[]
  dropSegments(index: number, ids: readonly string[]): void
  /** Rows of 56 bytes, one a digest: found, codec, offset, lengths, pack. */
  locateEntries(index: number, type: EntryType, digests: Uint8Array): Promise<Buffer>
  /** The same rows: every place of one digest. */
  locateCopies(index: number, type: EntryType, digest: Uint8Array): Promise<Buffer>
  /** Durable temporary files that together replace the segments named; none if one of these is gone. */
  mergeSegments(
    index: number,
    ids: readonly string[],
    tempPrefix: string,
    segmentBytesMax: number,
  ): Promise<SegmentFile[]>
  /** Segments made from packs alone; a pack that cannot be read is named, not skipped silently. */
  writePackSegments(
    repositoryId: Buffer,
    packs: readonly ObjectFile[],
    tempPrefix: string,
    replaces: readonly string[],
    segmentBytesMax: number,
  ): Promise<{ segments: SegmentFile[]; damaged: DamagedFile[] }>
  /** Rejects unless every byte, page and row order of the segment holds. */
  checkSegment(path: string, id: string): Promise<void>
  /** Rejects unless the pack's bytes have the digest that names it. */
  checkPack(path: string, id: string): Promise<void>
  /**
   * Reads small files one after the other: of each its length, four bytes little-endian, and its bytes. A
   * length of zero only says that this one is to be read by itself.
   */
  readTogether(paths: readonly string[], bytesMax: number): Promise<Uint8Array>
}

/** The type of a stored entry: 0 is a chunk of a volume, 1 a page of a tree. */
export type EntryType = 0 | 1

/** A published object: where it lies and the digest that names it, in hex. */
export interface ObjectFile {
  readonly path: string
  readonly id: string
}

/** An object that could not be read as what its name says. */
export interface DamagedFile extends ObjectFile {
  readonly message: string
}

/** An open segment of the chunk index. */
export interface SegmentInfo {
  readonly id: string
  readonly bytes: number
  readonly entries: number
  readonly replaces: readonly string[]
}

/** A segment, durable under a temporary name and not yet published. */
export interface SegmentFile {
  readonly id: string
  readonly tempPath: string
  readonly bytes: number
  readonly entries: number
}

/** A pack, durable under a temporary name and not yet published. */
export interface PackFile extends SegmentFile {
  readonly type: EntryType
}

/** The way there: read, zero test, digest, known?, compress, pack. */
export interface EncodeCalls {
  openEncodeJob(options: EncodeJobOptions): number
  /** Blocks its thread: for workers only. 33 bytes a slot in order: state (0 zero, 1 known, 2 stored), digest. */
  ingest(job: number, runs: Float64Array, store: boolean): Buffer
  /** As `ingest`, on one of libuv's threads: for small jobs without workers. */
  ingestAsync(job: number, runs: Float64Array, store: boolean): Promise<Buffer>
  /** Stores the pages that are not known yet and answers all their digests, 32 bytes each. */
  storePages(job: number, pages: Uint8Array, lengths: Uint32Array): Promise<Buffer>
  /** The digests of pages, 32 bytes each; `spans` are an offset and a length in `bytes` for each. */
  pageDigests(bytes: Uint8Array, spans: Uint32Array): Buffer
  /** Seals the open packs; resolves when all are durable under their temporary names. */
  flushJob(job: number): Promise<void>
  /** The packs sealed since the last call; the caller publishes them. */
  takeSealed(job: number): PackFile[]
  /** The entries of packs taken, as durable temporary segments. */
  writeSegments(job: number, ids: readonly string[]): Promise<SegmentFile[]>
  /** Looks into published segments from now on, and forgets the pending digests they hold. */
  adoptSegments(job: number, paths: readonly string[]): Promise<void>
  /** bytesRead, bytesZero, bytesKnown, bytesStored, storedBytesOut, packsWritten, packBytesWritten, readWaitNs, writeWaitNs, rateWaitNs, slotsDone. */
  jobCounters(job: number): Float64Array
  /** Makes every call of the job return soon; joins nothing. */
  cancelJob(job: number): void
  /** Joins the job's threads and frees it; may be called again. */
  closeJob(job: number): Promise<void>
}

/** All that one backup tells the native loop. */
export interface EncodeJobOptions {
  readonly source: number
  readonly index: number
  readonly chunkBytes: number
  readonly volumeBytes: number
  /** 0 none, 1 lz4, 2 zstd. */
  readonly codec: 0 | 1 | 2
  readonly level: number
  readonly packBytes: number
  readonly packsRoot: string
  readonly tempPrefix: string
  readonly repositoryId: Buffer
  readonly readers: number
  readonly writers: number
  readonly bytesInFlightMax: number
  /** 0 is no limit. */
  readonly bytesPerSecond: number
}

/** The way back: pack range, decode, compare digest, write or zero. */
export interface DecodeCalls {
  openDecodeJob(options: DecodeJobOptions): number
  /** Finds every slot's entry; slots are rows of 40 bytes: slot, digest. */
  planExtract(
    job: number,
    slots: Uint8Array,
    order: 'pack' | 'slot',
    batchBytes: number,
  ): Promise<ExtractPlan>
  /** Blocks its thread: for workers only. Answers the rows that could not be restored. */
  extract(job: number, rows: Uint8Array): { damaged: Buffer }
  /** As `extract`, on one of libuv's threads: for small jobs without workers. */
  extractAsync(job: number, rows: Uint8Array): Promise<{ damaged: Buffer }>
  /** Writes the checked bytes of an extent to a descriptor in order, zeroes where no row is. */
  emit(job: number, rows: Uint8Array, offset: number, length: number, fd: number): Promise<void>
  /** The id, in hex, of the pack that rows call by its number. */
  packName(job: number, pack: number): string
  /** bytesDecoded, bytesWritten, bytesReadStored, readWaitNs, writeWaitNs, rateWaitNs, chunksDone. */
  decodeCounters(job: number): Float64Array
  /** Makes every call of the job return soon; joins nothing. */
  cancelDecodeJob(job: number): void
  /** Joins the job's threads and frees it; may be called again. */
  closeDecodeJob(job: number): Promise<void>
}

/** All that one restore or verify tells the native loop; -1 as target decodes and writes nothing. */
export interface DecodeJobOptions {
  readonly index: number
  readonly target: number
  readonly packsRoot: string
  readonly chunkBytes: number
  readonly volumeBytes: number
  /** Records damage and goes on, instead of failing at the first. */
  readonly tolerant: boolean
  /** Plans each entry of the index at most once. */
  readonly once: boolean
  readonly readers: number
  readonly writers: number
  readonly bytesInFlightMax: number
  /** 0 is no limit. */
  readonly bytesPerSecond: number
}

/** Rows of 80 bytes in the order asked for, the bounds of their batches, and the slots not found. */
export interface ExtractPlan {
  readonly rows: Buffer
  readonly batches: Uint32Array
  readonly missing: Buffer
}

/**
 * Calls the addon, and gives what it throws or rejects with its code: always a `MoverError`.
 * What is returned, promise or not, is what the call returned.
 */
export function native<T>(call: (addon: Addon) => T, stage: Stage | null = null): T {
  try {
    const answer = call(loadAddon())
    if (!(answer instanceof Promise)) return answer
    return answer.catch((error: unknown) => {
      throw toMoverError(error, stage)
    }) as T
  } catch (error) {
    throw toMoverError(error, stage)
  }
}

/** Turns an error of the addon into a `MoverError`; what already is one is passed on. */
export function toMoverError(error: unknown, stage: Stage | null = null): MoverError {
  if (error instanceof MoverError) return error
  const failure = nativeFailure(error)
  if (failure === null) {
    return new MoverError('INTERNAL', 'the native addon failed in a way it has no code for', {
      stage,
      cause: error,
    })
  }
  const { code, message, offset, path, os } = failure
  return new MoverError(code, message, {
    stage,
    offset,
    remedy: nativeRemedy(code),
    details: { path, os },
    cause: error,
  })
}

let loaded: Addon | null = null

/** The addon, loaded once a thread; INTERNAL where it is missing or belongs to another version. */
export function loadAddon(): Addon {
  loaded ??= checkVersion(requireChecked())
  return loaded
}

function requireChecked(): Addon {
  try {
    return requireAddon() as Addon
  } catch (cause) {
    throw new MoverError('INTERNAL', 'the native addon cannot be loaded', {
      stage: 'open',
      remedy: 'build it with `npm run build`, or install the package again',
      cause,
    })
  }
}

function checkVersion(addon: Addon): Addon {
  const built = addon.version()
  const wanted = packageVersion()
  if (built === wanted) return addon
  throw new MoverError('INTERNAL', `the native addon is version ${built}, the package ${wanted}`, {
    stage: 'open',
    remedy: 'build it again with `npm run build`',
  })
}

interface NativeFailure {
  readonly code: MoverErrorCode
  readonly message: string
  readonly offset: number | null
  readonly path: string | null
  readonly os: string | null
}

const FAILURE_MARK = 'MOVER:'

function nativeFailure(error: unknown): NativeFailure | null {
  if (!(error instanceof Error) || !error.message.startsWith(FAILURE_MARK)) return null
  const failure = JSON.parse(error.message.slice(FAILURE_MARK.length)) as NativeFailure
  // The addon's list of codes is another file in another language: an unknown one is a bug.
  return isMoverErrorCode(failure.code) ? failure : null
}
