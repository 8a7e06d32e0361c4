import { constants } from 'node:os'
import { MoverError } from '../core/errors.js'
import type { MoverErrorCode } from '../core/errors.js'

/** The system's code of an error, such as `ENOENT`; null where it has none. */
export function systemCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : null
}

/**
 * Gives what the file system threw its code. `what` begins the message, as in "cannot read object
 * packs/…"; a `MoverError` is passed on as it is.
 */
export function backendError(cause: unknown, what: string): MoverError {
  if (cause instanceof MoverError) return cause
  const system = systemCode(cause) ?? String(cause)
  const { code, says, remedy } = MEANINGS.get(system) ?? { code: 'BACKEND_FAILED' }
  return new MoverError(code, `${what}: ${says ?? `the file system answered ${system}`}`, {
    remedy: remedy ?? null,
    details: { os: system },
    cause,
  })
}

/** As `backendError`, of a write: what is missing then is not the object, but where it should go. */
export function writingError(cause: unknown, what: string): MoverError {
  const error = backendError(cause, what)
  if (error.code !== 'OBJECT_NOT_FOUND') return error
  const message = `${what}: its folder or temporary file is gone`
  return new MoverError('BACKEND_FAILED', message, {
    remedy: 'see that the repository is mounted, and that nothing else cleans up in it',
    cause,
  })
}

interface Meaning {
  readonly code: MoverErrorCode
  readonly says?: string
  readonly remedy?: string
}

const FULL: Meaning = {
  code: 'BACKEND_FULL',
  says: 'the repository is full',
  remedy: 'make room on the file system of the repository and start again: nothing is lost',
}
const FORBIDDEN: Meaning = {
  code: 'BACKEND_FAILED',
  says: 'this user may not',
  remedy: 'run as the user who owns the repository, or give this one the right',
}
const NO_LINKS: Meaning = {
  code: 'BACKEND_FAILED',
  says: 'the file system has no hard links',
  remedy: 'put the repository on a file system with hard links, such as ext4, XFS, Btrfs or NFS',
}

const READ_ONLY: Meaning = {
  code: 'BACKEND_FAILED',
  says: 'the file system is mounted read-only',
  remedy: 'mount it read-write',
}

const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ['ENOENT', { code: 'OBJECT_NOT_FOUND', says: 'there is none' }],
  ['EEXIST', { code: 'OBJECT_EXISTS', says: 'there is one already' }],
  ['ENOSPC', FULL],
  ['EDQUOT', FULL],
  // What Node says for it: libuv has no name for a full quota.
  [`Unknown system error ${-constants.errno.EDQUOT}`, FULL],
  ['EACCES', FORBIDDEN],
  // Linux answers a hard link on a file system without them with EPERM.
  ['EPERM', { ...NO_LINKS, says: 'not permitted, or the file system has no hard links' }],
  ['EOPNOTSUPP', NO_LINKS],
  ['EROFS', READ_ONLY],
])

/** What an attempt gave, or what it failed with; a bug is no outcome, and is thrown. */
export async function outcomeOf<T>(attempt: Promise<T>): Promise<T | MoverError> {
  try {
    return await attempt
  } catch (error) {
    if (error instanceof MoverError && error.code !== 'CANCELLED') return error
    throw error
  }
}
