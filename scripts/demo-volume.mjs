/**
 * Makes the demonstration's volume: an ext4 file system filled with real files of this machine.
 */
import { copyFileSync, mkdirSync, opendirSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { findProgram, run, ScriptError } from './run.mjs'

const MIB = 2 ** 20
const VOLUME_BYTES = 1280 * MIB
const FILES_MAX = 12_000
const FILE_BYTES_MAX = 64 * MIB

/** Where files are taken from, and how much from each at most. */
const SHELVES = [
  { folder: '/usr/bin', bytes: 150 * MIB },
  { folder: '/usr/share', bytes: 150 * MIB },
  { folder: '/usr/lib', bytes: 400 * MIB },
]

/** The file in which the demonstration will write: it has the size of a real program, Node. */
export const BIG_FILE = 'big-file'

/**
 * @typedef {object} Volume
 * @property {string} path
 * @property {number} bytes
 * @property {readonly string[]} files paths inside the volume that need no quoting
 */

/**
 * Makes the volume at `path`. What it copies first lies in `staging`, and is removed again.
 *
 * @param {string} path
 * @param {string} staging
 * @returns {Promise<Volume>}
 */
export async function makeVolume(path, staging) {
  mkdirSync(staging, { recursive: true })
  copyFileSync(process.execPath, join(staging, BIG_FILE))
  const files = SHELVES.flatMap(shelf => copyShelf(shelf, staging))

  const mke2fs = requireProgram('mke2fs')
  const size = `${VOLUME_BYTES / MIB}M`
  await run(mke2fs, ['-q', '-F', '-t', 'ext4', '-d', staging, path, size])
  await rm(staging, { recursive: true })
  return { path, bytes: statSync(path).size, files: files.filter(isPlainName) }
}

/** @param {string} name */
export function requireProgram(name) {
  const path = findProgram(name)
  if (path === null) throw new ScriptError(`${name} was not found: install e2fsprogs`)
  return path
}

/**
 * Copies readable files of a folder, in its order, until the shelf is full. They are copied and not
 * linked: a hard link would change the time stamps of the machine's own files.
 *
 * @param {{ folder: string, bytes: number }} shelf
 * @param {string} staging
 */
function copyShelf({ folder, bytes }, staging) {
  const copied = []
  let room = bytes
  for (const { path, size } of filesBelow(folder)) {
    if (size > room) continue
    const inside = join(basename(folder), path.slice(folder.length + 1))
    const copy = join(staging, inside)
    mkdirSync(dirname(copy), { recursive: true })
    if (!tryCopy(path, copy)) continue
    room -= size
    copied.push(inside)
    if (copied.length === FILES_MAX / SHELVES.length) break
  }
  return copied
}

/**
 * @param {string} folder
 * @returns {Generator<{ path: string, size: number }>}
 */
function* filesBelow(folder) {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) yield* filesBelow(path)
    else if (entry.isFile()) {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
      if (size > 0 && size <= FILE_BYTES_MAX) yield { path, size }
    }
  }
}

/** @param {string} folder */
function entriesOf(folder) {
  const entries = []
  try {
    const open = opendirSync(folder)
    for (let entry = open.readSync(); entry !== null; entry = open.readSync()) entries.push(entry)
    open.closeSync()
  } catch {
    // Not for us to read, or gone: there are others.
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * @param {string} from
 * @param {string} to
 */
function tryCopy(from, to) {
  try {
    copyFileSync(from, to)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') throw error
    return false
  }
}

/** debugfs reads its commands as words, so only names without spaces and quotes are given to it. */
const isPlainName = /** @param {string} path */ path => /^[\w.+/-]+$/.test(path)
