/**
 * Small records as MessagePack maps: null, booleans, finite numbers, strings, bytes, arrays and maps
 * with string keys. Nothing else goes in, and nothing else comes out.
 */
import { Packr } from 'msgpackr'
import { invariant } from './invariant.js'
import { RECORD_BYTES_MAX, RECORD_DEPTH_MAX } from './limits.js'

const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  int64AsType: 'bigint',
  copyBuffers: true,
})

/** Encodes a plain value; the same value with its keys in the same order gives the same bytes. */
export function encodeRecord(value: unknown): Uint8Array {
  toPlain(value, 0)
  // Copied, because msgpackr hands out a view of its own large buffer.
  const bytes = Uint8Array.from(packr.pack(value))
  invariant(bytes.length <= RECORD_BYTES_MAX, 'a record is small')
  return bytes
}

/**
 * Decodes what `encodeRecord` wrote. Anything else, trailing bytes and unsafe integers included, is a
 * `RangeError`, to which the caller, who knows what the record is, gives a `MoverError`.
 */
export function decodeRecord(bytes: Uint8Array): unknown {
  if (bytes.length > RECORD_BYTES_MAX) throw new RangeError('a record is at most 16 MiB')
  try {
    return toPlain(packr.unpack(bytes), 0)
  } catch (cause) {
    if (cause instanceof RangeError && cause.message.startsWith('a record')) throw cause
    throw new RangeError('a record is one MessagePack value', { cause })
  }
}

/** Returns `value` with safe 64-bit integers as numbers, or throws for what a record cannot hold. */
function toPlain(value: unknown, depth: number): unknown {
  if (depth > RECORD_DEPTH_MAX) throw new RangeError(`a record is nested ${RECORD_DEPTH_MAX} deep`)
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'bigint') return toPlain(Number(value), depth)
  if (typeof value === 'number') return plainNumber(value)
  if (value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(item => toPlain(item, depth + 1))
  if (typeof value === 'object' && isPlainObject(value)) {
    return toPlainMap(value as Readonly<Record<string, unknown>>, depth)
  }
  throw new RangeError(`a record cannot hold ${Object.prototype.toString.call(value)}`)
}

/** The map itself where all of it is plain already, which most are: manifests are read by the thousand. */
function toPlainMap(map: Readonly<Record<string, unknown>>, depth: number): unknown {
  let changed: Record<string, unknown> | null = null
  for (const key in map) {
    const item = map[key]
    // Most items, asked first because it is quick.
    if (item === null || typeof item === 'string' || typeof item === 'boolean') continue
    const plain = toPlain(item, depth + 1)
    if (plain === item) continue
    changed ??= { ...map }
    changed[key] = plain
  }
  return changed ?? map
}

function plainNumber(value: number): number {
  const isExact = !Number.isInteger(value) || Number.isSafeInteger(value)
  if (!Number.isFinite(value) || !isExact) throw new RangeError(`a record cannot hold ${value}`)
  return value
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
