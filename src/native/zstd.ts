/** Zstandard as a second implementation beside the native one; the only importer of fzstd. */
import { Decompress } from 'fzstd'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { CHUNK_BYTES_MAX } from '../core/limits.js'

const MAGIC = 0xfd2f_b528
/** What RFC 8878 asks every decoder to support; more than any chunk needs. */
const WINDOW_BYTES_MAX = 8 * 1024 * 1024

/** Decodes one Zstandard frame to exactly `plainBytes`; anything else is `CODEC_FAILED`. */
export function decodeZstd(stored: Uint8Array, plainBytes: number): Uint8Array {
  invariant(plainBytes > 0 && plainBytes <= CHUNK_BYTES_MAX, 'plain bytes are bounded')
  try {
    checkFrame(stored)
    return decodeFrame(stored, plainBytes)
  } catch (cause) {
    if (cause instanceof MoverError) throw cause
    throw failed('cannot be decoded', cause)
  }
}

function decodeFrame(stored: Uint8Array, plainBytes: number): Uint8Array {
  const plain = new Uint8Array(plainBytes)
  let length = 0
  // Block by block: of a whole frame fzstd would not say how many bytes it has really decoded.
  const decoder = new Decompress(block => {
    if (block.length > plainBytes - length) throw failed(`holds more than ${plainBytes} bytes`)
    plain.set(block, length)
    length += block.length
  })
  decoder.push(stored, true)
  if (length !== plainBytes) throw failed(`holds ${length} bytes instead of ${plainBytes}`)
  return plain
}

/**
 * Throws unless `stored` is one whole frame with a sane window (RFC 8878, 3.1.1). Done before fzstd
 * sees it, which allocates what a header claims and goes on to whatever follows the frame.
 */
function checkFrame(stored: Uint8Array): void {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength)
  if (view.getUint32(0, true) !== MAGIC) throw failed('does not begin as one')
  const { headerBytes, windowBytes, hasChecksum } = readHeader(view)
  if (windowBytes > WINDOW_BYTES_MAX) throw failed(`asks for a window of ${windowBytes} bytes`)

  let at = headerBytes
  for (let isLast = false; !isLast;) {
    const block = view.getUint16(at, true) + view.getUint8(at + 2) * 0x1_0000
    isLast = (block & 1) === 1
    const isRun = ((block >>> 1) & 3) === 1
    at += 3 + (isRun ? 1 : block >>> 3)
  }
  if (at + (hasChecksum ? 4 : 0) !== stored.length) throw failed('is cut, or something follows it')
}

function readHeader(view: DataView): FrameHeader {
  const descriptor = view.getUint8(4)
  const isSingleSegment = ((descriptor >>> 5) & 1) === 1
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0
  const sizeAt = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes
  return {
    headerBytes: sizeAt + sizeBytes,
    windowBytes: isSingleSegment ? readSize(view, sizeAt, sizeBytes) : readWindow(view.getUint8(5)),
    hasChecksum: ((descriptor >>> 2) & 1) === 1,
  }
}

interface FrameHeader {
  readonly headerBytes: number
  readonly windowBytes: number
  readonly hasChecksum: boolean
}

function readWindow(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3))
  return base + (base / 8) * (descriptor & 7)
}

function readSize(view: DataView, at: number, bytes: number): number {
  if (bytes === 8) return Number(view.getBigUint64(at, true))
  if (bytes === 4) return view.getUint32(at, true)
  return bytes === 2 ? view.getUint16(at, true) + 256 : view.getUint8(at)
}

function failed(what: string, cause?: unknown): MoverError {
  return new MoverError('CODEC_FAILED', `a Zstandard frame ${what}`, { stage: 'decode', cause })
}
