/** The directory of a repository: how it is made, and how it is told from any other. */
import { join } from 'node:path'
import { MoverError } from '../core/errors.js'
import { backendError, systemCode } from './backend-error.js'
import type { Disk } from './disk.js'
import { makeFolder, syncFolder } from './durable-file.js'
import { OBJECT_KINDS } from './object-name.js'

/** Where temporary files lie, in the file system of the objects so that they can be linked. */
export const TEMPORARY_FOLDER = 'tmp'

const FOLDERS: readonly string[] = [...OBJECT_KINDS, TEMPORARY_FOLDER]

/**
 * Makes the folders of a new repository, durable when this resolves. The directory must be absent
 * or empty, or hold what a `createRoot` that was killed left: else REPOSITORY_EXISTS, untouched.
 */
export async function createRoot(disk: Disk, root: string): Promise<void> {
  try {
    const above = await makeRoot(disk, root)
    await checkVacant(disk, root)
    for (const folder of FOLDERS) await makeFolder(disk, join(root, folder))
    for (const folder of new Set([...above, root])) await syncFolder(disk, folder)
  } catch (cause) {
    throw backendError(cause, `cannot make a repository at ${root}`)
  }
}

/** A directory that is there already needs no syncing above it, and we may not be allowed to. */
async function makeRoot(disk: Disk, root: string): Promise<string[]> {
  try {
    await disk.lstat(root)
    return []
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    return makeFolder(disk, root)
  }
}

/** Throws REPOSITORY_NOT_FOUND where there clearly is no repository. */
export async function checkRoot(disk: Disk, root: string): Promise<void> {
  try {
    const entries = await disk.readdir(root)
    if (entries.includes('config')) return
  } catch (cause) {
    const code = systemCode(cause)
    if (code === 'ENOENT') throw notFound(`there is no directory ${root}`, root)
    if (code === 'ENOTDIR') throw notFound(`${root} is not a directory`, root)
    throw backendError(cause, `cannot open repository ${root}`)
  }
  throw notFound(`${root} is not a repository: it has no config`, root)
}

async function checkVacant(disk: Disk, root: string): Promise<void> {
  const entries = await disk.readdir(root)
  // A file system of its own has a folder that is nobody's.
  const foreign = entries.find(entry => !FOLDERS.includes(entry) && entry !== 'lost+found')
  const configs = entries.includes('config') ? await disk.readdir(join(root, 'config')) : []
  if (foreign === undefined && configs.length === 0) return
  const what = configs.length > 0 ? 'is a repository already' : `is not empty: it has ${foreign}`
  throw new MoverError('REPOSITORY_EXISTS', `${root} ${what}`, {
    stage: 'open',
    remedy: 'name an empty directory, or one that is not there yet',
  })
}

function notFound(message: string, root: string): MoverError {
  return new MoverError('REPOSITORY_NOT_FOUND', message, {
    stage: 'open',
    remedy: `check the path, or make a repository there with: mover init ${root}`,
  })
}
