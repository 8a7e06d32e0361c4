/**
 * Where the single binary puts the files that the system will only load from a file system: addons
 * and worker scripts. Whoever could write there could run code as us, so the folder and the way to it
 * are checked at every start, and each file is compared with its digest before it is loaded.
 */
import { createHash, randomBytes } from 'node:crypto'
import {
  constants,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, isAbsolute, join } from 'node:path'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'

/** A file of the program, as it lies in the binary; `sha256` is that of its bytes, in hex. */
export interface ProgramFile {
  readonly name: string
  readonly sha256: string
  readonly bytes: () => Uint8Array
}

/** What is unpacked: `addon` names the file whose loading shows that code may run from there. */
export interface Program {
  readonly files: readonly ProgramFile[]
  readonly addon: string
}

/** A folder in which the program's own may be made; a cache is made itself where it is missing. */
export interface Place {
  readonly path: string
  readonly isCache: boolean
}

/**
 * Unpacks the program below the first of these folders in which that can be done safely, and
 * answers the private folder it is in. What is there already and has not changed is used as it is.
 * Throws a `MoverError` that names every folder tried and what spoke against it.
 */
export function unpackProgram(program: Program, places: readonly Place[]): string {
  const refused: string[] = []
  for (const place of places) {
    try {
      return unpackBelow(place, program)
    } catch (error) {
      refused.push(`${place.path}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new MoverError(
    'TARGET_REFUSED',
    'no folder is private, writable and executable, and mover needs one to unpack its native parts: ' +
      refused.join('; '),
    {
      stage: 'open',
      remedy:
        'set XDG_CACHE_HOME to a folder of your own on a file system that is not mounted noexec',
      details: { refused },
    },
  )
}

/** The folders to try, in order: caches outlast a login and are not made of memory. */
export function placesToUnpack(
  environment: Readonly<Record<string, string | undefined>>,
  binary: string,
): readonly Place[] {
  const { XDG_CACHE_HOME = '', HOME = '', XDG_RUNTIME_DIR = '', TMPDIR = '' } = environment
  const caches = [XDG_CACHE_HOME, join(HOME, '.cache')]
  const others = [XDG_RUNTIME_DIR, TMPDIR, '/tmp', '/var/tmp', dirname(binary)]
  // A relative one would depend on where the user stands, and be found in other people's folders.
  const paths = [...new Set([...caches, ...others].filter(isAbsolute))]
  return paths.map(path => ({ path, isCache: caches.includes(path) }))
}

function unpackBelow({ path, isCache }: Place, program: Program): string {
  if (isCache) makeFolder(path)
  const way = realpathSync(path)
  for (let folder = way; ; folder = dirname(folder)) {
    refuseUnsafe(folder)
    if (folder === dirname(folder)) break
  }

  const folder = join(way, `.mover-${ownUser()}-${digestOfAll(program).slice(0, 16)}`)
  makeFolder(folder)
  refuseForeign(folder)
  for (const file of program.files) unpackFile(folder, file)
  // A file system mounted noexec says so only now.
  createRequire(join(folder, 'main.js'))(join(folder, program.addon))
  return folder
}

function makeFolder(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Two that start at once may both come here, and one of them is the first.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

const WRITABLE_BY_OTHERS = constants.S_IWGRP | constants.S_IWOTH
const STICKY = 0o1000

/** Refuses a folder on the way in which others could put another one in the place of ours. */
function refuseUnsafe(path: string): void {
  const { uid, mode } = statSync(path)
  if (uid !== ownUser() && uid !== 0) throw new Error(`${path} belongs to user ${uid}`)
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && (mode & STICKY) === 0) {
    throw new Error(`others may write in ${path}`)
  }
}

/** Refuses the folder itself unless it is ours, and nobody else's to read or write. */
function refuseForeign(path: string): void {
  const stat = lstatSync(path)
  if (!stat.isDirectory()) throw new Error(`${path} is no folder`)
  if (stat.uid !== ownUser()) throw new Error(`${path} belongs to user ${stat.uid}`)
  if ((stat.mode & 0o777) !== 0o700) throw new Error(`${path} is open to others`)
}

function ownUser(): number {
  const uid = process.geteuid?.()
  invariant(uid !== undefined, 'the program runs on Linux')
  return uid
}

/** Names the folder, so that two versions of the program never share one. */
function digestOfAll({ files }: Program): string {
  const hash = createHash('sha256')
  for (const { name, sha256 } of files) hash.update(`${name} ${sha256}\n`)
  return hash.digest('hex')
}

function unpackFile(folder: string, file: ProgramFile): void {
  const path = join(folder, file.name)
  if (holds(path, file)) return
  // Another start may be doing the same: each writes a file of its own, and the last rename stays.
  const fresh = `${path}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(fresh, file.bytes(), { flag: 'wx', mode: 0o600 })
    renameSync(fresh, path)
  } catch (error) {
    rmSync(fresh, { force: true })
    throw error
  }
}

/** True when the file is there, is ours alone to write, and has the bytes it should have. */
function holds(path: string, { sha256 }: ProgramFile): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return false
  const isOurs = stat.isFile() && stat.uid === ownUser() && (stat.mode & WRITABLE_BY_OTHERS) === 0
  return isOurs && createHash('sha256').update(readFileSync(path)).digest('hex') === sha256
}
