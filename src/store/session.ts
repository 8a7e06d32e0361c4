/**
 * A session makes a live writer or reader visible, so that what it uses is kept and what it leaves
 * when it dies is known to be dead. Its file is created and locked under a temporary name and only
 * then linked: visible means locked, and the kernel unlocks it when the process dies, however it
 * dies. No session ever has to be unlocked by a person.
 */
import { randomBytes } from 'node:crypto'
import { link, open, readdir, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { systemCode, writingError } from '../backend/backend-error.js'
import type { Backend } from '../backend/backend.js'
import { sessionName } from '../backend/object-name.js'
import { throwIfAborted } from '../core/abort.js'
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { sweepDeadSessions } from './dead-sessions.js'
import type { SweepReport } from './dead-sessions.js'
import { tryLock } from './file-lock.js'
import { encodeSession, whereWeAre } from './session-record.js'
import type { SessionRecord } from './session-record.js'

/** A live writer or reader of a repository; ends when it is disposed of. */
export interface Session extends AsyncDisposable {
  /** 32 hex digits. */
  readonly id: string
  readonly kind: 'read' | 'write'
  /** Its temporary files are this and any suffix; what is left of them goes when it ends. */
  readonly tempPrefix: string
  /** Why no session file could be made: a reader may go on, but nobody knows of it. Else null. */
  readonly hidden: MoverError | null
  /** What it cleared away when it began. */
  readonly swept: SweepReport
  /** As disposing of it; may be called again. What cannot be removed, the next session sweeps. */
  end(): Promise<void>
}

/** What a session is for; `parent` is the manifest that a writer builds on, null for a reader. */
export interface SessionOptions extends AbortOptions {
  readonly kind: 'read' | 'write'
  readonly parent: string | null
}

/** How long a session that nobody can ask counts as live: longer than any backup takes. */
const SESSION_LIFE_MS = 7 * 24 * 60 * 60 * 1000

const NOT_THERE: readonly (string | null)[] = ['ENOENT', 'ENOTDIR']

const NOTHING_SWEPT: SweepReport = { ended: [], failures: [] }

/**
 * Begins a session and sweeps up after dead ones. A reader of a repository that cannot be written, for
 * whatever reason, gets a hidden session; a writer, BACKEND_FAILED or BACKEND_FULL.
 */
export async function beginSession(
  backend: Backend,
  { kind, parent, ...options }: SessionOptions,
): Promise<Session> {
  throwIfAborted(options)
  const here = await whereWeAre()
  const id = randomBytes(16).toString('hex')
  const tempPrefix = backend.tempPrefix(id)
  const startedMs = Date.now()
  const record: SessionRecord = {
    host: here.host,
    bootId: here.bootId,
    pid: process.pid,
    kind,
    startedMs,
    deadlineMs: startedMs + SESSION_LIFE_MS,
    pruneEpoch: 0,
    parent,
  }
  const parts = { id, kind, tempPrefix, hidden: null, swept: NOTHING_SWEPT }
  if (backend.localRoot === null) {
    await backend.put(sessionName(id), encodeSession(record), options)
    return sessionOf(parts, () => backend.remove(sessionName(id)))
  }

  const path = join(backend.localRoot, sessionName(id))
  try {
    const file = await createLocked({ tempPrefix, path, record })
    const folders = { sessions: dirname(path), temporary: dirname(tempPrefix), here }
    const swept = await sweepDeadSessions(folders)
    return sessionOf({ ...parts, swept }, () => endLocal({ tempPrefix, path, file }))
  } catch (cause) {
    const error = writingError(cause, 'cannot begin a session')
    // A restore is what a full or failing disk must still be good for; but not a folder that is gone.
    if (kind === 'write' || NOT_THERE.includes(systemCode(cause))) throw error
    return sessionOf({ ...parts, hidden: error }, async () => {})
  }
}

/** A file that nobody refers to is closed by the garbage collector, which would end its lock. */
const LOCKED = new Set<FileHandle>()

interface LocalSession {
  readonly tempPrefix: string
  readonly path: string
}

/** Makes the session file: written and locked before anybody can see it under its name. */
async function createLocked(
  session: LocalSession & { readonly record: SessionRecord },
): Promise<FileHandle> {
  const { tempPrefix, path, record } = session
  const tempPath = `${tempPrefix}session`
  const file = await open(tempPath, 'wx+', 0o600)
  try {
    if (!(await tryLock(file))) {
      throw new MoverError('BACKEND_FAILED', `somebody else locked the new file ${tempPath}`)
    }
    await file.writeFile(encodeSession(record))
    // Other hosts read it; it need not outlast a power cut, because the session does not.
    await file.datasync()
    await link(tempPath, path)
    LOCKED.add(file)
    return file
  } catch (error) {
    await Promise.allSettled([file.close()])
    throw error
  } finally {
    await Promise.allSettled([unlink(tempPath)])
  }
}

/** Temporary files first: as long as the session file is there, everybody knows whose they are. */
async function endLocal(session: LocalSession & { readonly file: FileHandle }): Promise<void> {
  const { tempPrefix, path, file } = session
  try {
    const folder = dirname(tempPrefix)
    const own = (await readdir(folder)).filter(name => name.startsWith(basename(tempPrefix)))
    for (const name of own) await unlink(join(folder, name))
    await unlink(path)
  } finally {
    LOCKED.delete(file)
    await file.close()
  }
}

function sessionOf(parts: Omit<Session, 'end' | symbol>, clear: () => Promise<void>): Session {
  let ending: Promise<void> | null = null
  const end = (): Promise<void> => {
    // A backup that is committed does not fail because something unused could not be removed.
    ending ??= clear().catch(() => {})
    return ending
  }
  return { ...parts, end, [Symbol.asyncDispose]: end }
}
