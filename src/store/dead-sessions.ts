/**
 * What the dead have left: their session files and temporary files. Nobody ever has to "unlock";
 * whoever begins a session clears away what is proven to belong to nobody, and nothing else.
 */
import { open, readdir, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { backendError, systemCode } from '../backend/backend-error.js'
import { LOCK_FILE } from '../backend/open-flags.js'
import { SEALED_BYTES_MAX } from '../backend/sealed-record.js'
import { MoverError } from '../core/errors.js'
import { tryLock } from './file-lock.js'
import { decodeSession, isJudgedByLock } from './session-record.js'
import type { Here } from './session-record.js'

/** What a sweep did: sessions that were dead, and what it could not look at or remove. */
export interface SweepReport {
  readonly ended: readonly string[]
  readonly failures: readonly MoverError[]
}

/** Where session files and temporary files lie, and who is looking. */
export interface SessionFolders {
  readonly sessions: string
  readonly temporary: string
  readonly here: Here
}

/**
 * A temporary file whose session is not listed is left alone for so long: a network file system
 * may show us a new session's files a minute before it shows us the session.
 */
const ORPHAN_AGE_MS = 60 * 60 * 1000

/** Removes dead sessions and their temporary files. Never fails: what stays is only unused. */
export async function sweepDeadSessions(folders: SessionFolders): Promise<SweepReport> {
  const ended: string[] = []
  const failures: MoverError[] = []
  const attempt = async (what: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (cause) {
      if (systemCode(cause) !== 'ENOENT') failures.push(backendError(cause, `cannot ${what}`))
    }
  }
  await attempt('look for dead sessions', async () => {
    // Temporary files first: whatever is in this list, its session was visible before it was made.
    const files = (await readdir(folders.temporary)).filter(file => /^[0-9a-f]{32}\./.test(file))
    const sessions = (await readdir(folders.sessions)).filter(id => /^[0-9a-f]{32}$/.test(id))
    for (const id of sessions) {
      await attempt(`end session ${id}`, async () => {
        const own = files.filter(file => file.startsWith(`${id}.`))
        if (await endIfDead(id, own, folders)) ended.push(id)
      })
    }
    const listed = new Set(sessions)
    for (const file of files.filter(file => !listed.has(file.slice(0, 32)))) {
      await attempt(`remove ${file}`, () => removeOrphan(join(folders.temporary, file)))
    }
  })
  return { ended, failures }
}

/** Removes a session's temporary files, then its file, if nobody holds its lock any more. */
async function endIfDead(
  id: string,
  files: readonly string[],
  { sessions, temporary, here }: SessionFolders,
): Promise<boolean> {
  const path = join(sessions, id)
  const file = await open(path, LOCK_FILE)
  try {
    const record = decodeSession(await readBounded(file))
    if (!isJudgedByLock(record, here, Date.now()) || !(await tryLock(file))) return false
    for (const name of files) await unlinkIfThere(join(temporary, name))
    await unlinkIfThere(path)
    return true
  } finally {
    await file.close()
  }
}

async function removeOrphan(path: string): Promise<void> {
  const file = await open(path, LOCK_FILE)
  try {
    const { mtimeMs } = await file.stat()
    if (Date.now() - mtimeMs < ORPHAN_AGE_MS) return
    if (await tryLock(file)) await unlinkIfThere(path)
  } finally {
    await file.close()
  }
}

async function readBounded(file: FileHandle): Promise<Uint8Array> {
  const { size } = await file.stat()
  if (size > SEALED_BYTES_MAX) {
    throw new MoverError('BACKEND_FAILED', `the session file has ${size} bytes`)
  }
  return file.readFile()
}

async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
