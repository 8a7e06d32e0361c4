/**
 * Changes the demonstration's volume as a day's work would, and keeps the dirty bitmap of it. Every
 * bit is set by a write: those of debugfs are told by its undo file, our own by the call that makes
 * them. Nothing here ever compares two images.
 */
import { open, rm, writeFile } from 'node:fs/promises'
import { BIG_FILE, requireProgram } from './demo-volume.mjs'
import { run, ScriptError } from './run.mjs'
import { writtenExtents } from './undo-file.mjs'

const DELETED_FILES = 120
const NEW_FILES = 24
const NEW_FILE_BYTES = 160 * 1024
const REWRITTEN_PLACES = 240
const CLEARED_BLOCKS = 32
const BLOCK_BYTES = 4096

/** @typedef {import('./demo-volume.mjs').Volume} Volume */

/** One bit a granule, least significant bit first, as QEMU and libnbd count. */
export class WriteRecord {
  /** @type {Uint8Array} */ bits
  /** @type {number} */ granularityBytes

  /**
   * @param {number} volumeBytes
   * @param {number} granularityBytes
   */
  constructor(volumeBytes, granularityBytes) {
    this.granularityBytes = granularityBytes
    this.bits = new Uint8Array(Math.ceil(volumeBytes / granularityBytes / 8))
  }

  /** @param {{ offset: number, length: number }} extent what was written */
  add({ offset, length }) {
    if (length === 0) return
    const last = Math.floor((offset + length - 1) / this.granularityBytes)
    for (let granule = Math.floor(offset / this.granularityBytes); granule <= last; granule++) {
      this.bits[granule >> 3] = (this.bits[granule >> 3] ?? 0) | (1 << (granule & 7))
    }
  }

  /** How many bytes the bits stand for, at most. */
  get dirtyBytes() {
    let count = 0
    for (const byte of this.bits) for (let bit = byte; bit > 0; bit >>= 1) count += bit & 1
    return count * this.granularityBytes
  }
}

/**
 * Writes new files into the volume, deletes others and rewrites blocks scattered over its big file.
 * `scratch` is the beginning of the names of temporary files.
 *
 * @param {Volume} volume
 * @param {WriteRecord} record
 * @param {string} scratch
 */
export async function changeVolume(volume, record, scratch) {
  await changeFiles(volume, record, scratch)
  await rewriteBigFile(volume, record)
}

/**
 * @param {Volume} volume
 * @param {WriteRecord} record
 * @param {string} scratch
 */
async function changeFiles(volume, record, scratch) {
  const content = `${scratch}.content`
  await writeFile(content, bytesOf(7, NEW_FILE_BYTES))
  const stride = Math.max(1, Math.floor(volume.files.length / DELETED_FILES))
  const deleted = volume.files.filter((_, at) => at % stride === 0)
  const commands = ['mkdir new', ...deleted.map(path => `rm ${path}`)]
  for (let at = 0; at < NEW_FILES; at++) commands.push(`write ${content} new/file-${at}`)

  const undo = `${scratch}.undo`
  const script = `${scratch}.debugfs`
  await writeFile(script, commands.map(command => `${command}\n`).join(''))
  await run(requireProgram('debugfs'), ['-w', '-z', undo, '-f', script, volume.path])
  for await (const extent of writtenExtents(undo)) record.add(extent)
  for (const path of [content, undo, script]) await rm(path)
}

/**
 * @param {Volume} volume
 * @param {WriteRecord} record
 */
async function rewriteBigFile(volume, record) {
  const blocks = await blocksOf(volume, BIG_FILE)
  const file = await open(volume.path, 'r+')
  try {
    const random = randomNumbers(11)
    for (let at = 0; at < REWRITTEN_PLACES; at++) {
      const first = Math.floor(random() * blocks.length)
      // Every fourth place is cleared: what is dirty and zero has to be restored as zero.
      const isCleared = at % 4 === 0
      for (const block of blocks.slice(first, first + (isCleared ? CLEARED_BLOCKS : 1))) {
        const bytes = isCleared ? Buffer.alloc(BLOCK_BYTES) : bytesOf(100 + at, BLOCK_BYTES)
        const extent = { offset: block * BLOCK_BYTES, length: BLOCK_BYTES }
        await file.write(bytes, 0, extent.length, extent.offset)
        record.add(extent)
      }
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

/** A leaf of the extent tree, as `dump_extents` prints it: level, number, logical, physical, length. */
const LEAF = /^ *\d+\/ *\d+ +\d+\/ *\d+ +\d+ - +\d+ +(\d+) - +\d+ +(\d+) *$/

/**
 * The numbers of the blocks that hold a file's bytes.
 *
 * @param {Volume} volume
 * @param {string} path
 */
async function blocksOf(volume, path) {
  const debugfs = requireProgram('debugfs')
  const stats = await run(debugfs, ['-R', 'stats -h', volume.path])
  if (!new RegExp(`^Block size: +${BLOCK_BYTES}$`, 'm').test(stats)) {
    throw new ScriptError(`the volume's blocks are not of ${BLOCK_BYTES} bytes`)
  }
  const blocks = []
  for (const line of (await run(debugfs, ['-R', `dump_extents ${path}`, volume.path])).split(
    '\n',
  )) {
    const [, first, count] = LEAF.exec(line) ?? []
    for (let at = 0; at < Number(count ?? 0); at++) blocks.push(Number(first) + at)
  }
  if (blocks.length === 0) throw new ScriptError(`${path} has no blocks in the volume`)
  return blocks
}

/**
 * Bytes that do not compress, the same at every run.
 *
 * @param {number} seed
 * @param {number} length
 */
function bytesOf(seed, length) {
  const random = randomNumbers(seed)
  const words = Uint32Array.from({ length: length / 4 }, () => random() * 2 ** 32)
  return Buffer.from(words.buffer)
}

/**
 * Numbers from 0 to 1, the same ones for the same seed (xorshift32).
 *
 * @param {number} seed
 */
function randomNumbers(seed) {
  let state = seed * 0x9e3779b9
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}
