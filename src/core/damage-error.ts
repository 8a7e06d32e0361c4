import { errorKind, MoverError } from './errors.js'

/** What a medium answers where it has lost bytes; anything else says nothing of them. */
const MEDIUM_ERRORS: readonly unknown[] = ['EIO', 'ENODATA', 'EILSEQ', 'EUCLEAN', 'EREMOTEIO']

/**
 * Whether an error proves that stored bytes are not what they should be: they are wrong, or gone, or
 * their object is shorter than it was. An error of the system never proves it.
 */
export function isDamage(error: unknown): error is MoverError {
  if (!(error instanceof MoverError)) return false
  if (error.code === 'OBJECT_NOT_FOUND' || errorKind(error.code) === 'integrity') return true
  return error.code === 'BACKEND_FAILED' && systemErrorOf(error) === null
}

/** Whether a medium says that it has lost bytes: they may be what they were, but nobody can have them. */
export function isLostByMedium(error: unknown): error is MoverError {
  const isFailure = error instanceof MoverError && error.code === 'BACKEND_FAILED'
  return isFailure && MEDIUM_ERRORS.includes(systemErrorOf(error))
}

/** The message of damage; an error that is none is thrown on, since it proves nothing of the bytes. */
export function damageMessageOrThrow(error: unknown): string {
  if (isDamage(error) || isLostByMedium(error)) return error.message
  throw error
}

function systemErrorOf({ details }: MoverError): unknown {
  return details?.['os'] ?? null
}
