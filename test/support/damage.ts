/** Repositories that are damaged on purpose: copied, and then spoilt in one place. */
import { closeSync, cpSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import { objectsOf } from './repository.js'

/** Objects of a repository by what they hold: paths below its folder, the largest first. */
export interface ObjectsByKind {
  readonly data: readonly string[]
  readonly page: readonly string[]
  readonly segment: readonly string[]
  readonly manifest: readonly string[]
  readonly config: readonly string[]
}

/** Tells packs of chunks from packs of pages by their headers. */
export function objectsByKind(path: string): ObjectsByKind {
  const named = (folder: string) =>
    objectsOf(path, folder)
      .map(name => join(folder, name))
      .sort((a, b) => sizeOf(join(path, b)) - sizeOf(join(path, a)))
  const packs = named('packs')
  return {
    data: packs.filter(name => headOf(join(path, name))[10] === 0),
    page: packs.filter(name => headOf(join(path, name))[10] === 1),
    segment: named('index'),
    manifest: named('manifests'),
    config: named('config'),
  }
}

/** Where the parts of a pack begin, as its trailer and its table say. */
export function packParts(bytes: Buffer): Readonly<Record<string, number>> {
  const trailer = bytes.length - 64
  const table = Number(bytes.readBigUInt64LE(trailer + 16))
  const framesEnd = Number(bytes.readBigUInt64LE(trailer + 24))
  return {
    header: 0,
    salt: 40,
    'frame head': 128,
    'frame digest': 128 + 20,
    'stored bytes': 128 + 64 + 100,
    // Frames hardly ever end where the table has to begin.
    ...(framesEnd < table ? { padding: framesEnd } : {}),
    row: table,
    'row length': table + 36,
    trailer,
    'trailer count': trailer + 12,
    checksum: bytes.length - 1,
  }
}

/** Where the parts of an index segment begin, as its header says. */
export function segmentParts(bytes: Buffer): Readonly<Record<string, number>> {
  const at = (field: number) => Number(bytes.readBigUInt64LE(field))
  return {
    magic: 0,
    'entry count': 40,
    'header checksum': 4090,
    'row digest': at(72),
    'row place': at(72) + 36,
    'page checksum': at(72) + 4090,
    'fan-out': at(80),
    filter: at(88),
    'pack id': at(104),
    'pack bytes': at(104) + 33,
  }
}

/** A copy of a repository to be spoilt. */
export function copyRepository(from: string, to: string): string {
  cpSync(from, to, { recursive: true })
  return to
}

/** Changes one byte of a file. */
export function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, offset)
  byte[0] = ((byte[0] ?? 0) + 16) % 256
  writeSync(file, byte, 0, 1, offset)
  closeSync(file)
}

/** The id that an object is called by: the last part of its name. */
export function idOfObject(name: string): string {
  return basename(name)
}

function sizeOf(path: string): number {
  return statSync(path).size
}

function headOf(path: string): Buffer {
  return readFileSync(path).subarray(0, 128)
}
