/**
 * One error class and one list of codes for everything the world can do to us. Callers branch on
 * `code` (stable across releases) or on its kind, never on the message.
 */

/** Thrown for every fault of the world; `code` is stable, `remedy` says what to do where we know it. */
export class MoverError extends Error {
  override readonly name = 'MoverError'
  readonly code: MoverErrorCode
  /** What the operation was doing; null where the thrower cannot know. */
  readonly stage: Stage | null
  /** Whether the same call may succeed when it is simply made again. */
  readonly retryable: boolean
  /** Byte offset on the volume or in the object at which it failed, where there is one. */
  readonly offset: number | null
  readonly remedy: string | null
  readonly details: Readonly<Record<string, unknown>> | null

  constructor(code: MoverErrorCode, message: string, options: MoverErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.stage = options.stage ?? null
    this.retryable = options.retryable ?? isTransient(options.details?.['os'])
    this.offset = options.offset ?? null
    this.remedy = options.remedy ?? null
    this.details = options.details ?? null
  }
}

/** What somebody knows of a fault who did not throw it. */
export interface Retelling {
  readonly message?: string
  readonly remedy?: string
  /** Beside those that are there. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** The same fault, told by somebody who knows more of it; `error` is its cause. */
export function retold(error: MoverError, { message, remedy, details }: Retelling): MoverError {
  const { code, stage, offset, retryable } = error
  return new MoverError(code, message ?? error.message, {
    ...{ stage, offset, retryable, cause: error },
    remedy: remedy ?? error.remedy,
    details: details === undefined ? error.details : { ...error.details, ...details },
  })
}

/** What a system says when it was only busy, out of something, or cut off for a while. */
const TRANSIENT: readonly unknown[] = [
  'EAGAIN',
  'EBUSY',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EINTR',
  'EMFILE',
  'ENETUNREACH',
  'ENFILE',
  'ENOMEM',
  'ESTALE',
  'ETIMEDOUT',
]

function isTransient(systemCode: unknown): boolean {
  return TRANSIENT.includes(systemCode)
}

export interface MoverErrorOptions {
  readonly stage?: Stage | null | undefined
  readonly retryable?: boolean | undefined
  readonly offset?: number | null | undefined
  readonly remedy?: string | null | undefined
  readonly details?: Readonly<Record<string, unknown>> | null | undefined
  readonly cause?: unknown
}

/** The step of an operation in which an error came up. */
export type Stage =
  | 'open'
  | 'plan'
  | 'read'
  | 'encode'
  | 'store'
  | 'commit'
  | 'decode'
  | 'write'
  | 'flush'
  | 'audit'
  | 'verify'

/** Whose fault it was; each kind has an exit status of its own. */
export type ErrorKind =
  'usage' | 'refused' | 'source' | 'repository' | 'target' | 'integrity' | 'cancelled' | 'internal'

// A source error can never be taken for a repository error: the kind is bound to the code
// here, in one table, and nowhere else.
const KINDS = {
  ARGUMENT_INVALID: 'usage', // an option or a name that cannot mean anything

  CHANGES_MALFORMED: 'refused', // the change map is not one, or fits neither volume nor parent
  CHANGES_UNPINNED: 'refused', // nothing says from which state the change map counts
  HYPERVISOR_REFUSED: 'refused', // the hypervisor will not do it, or somebody else is at it
  PARENT_UNUSABLE: 'refused', // the parent is degraded or belongs to another volume or repository
  TARGET_EXISTS: 'refused', // the target file is there already
  TARGET_REFUSED: 'refused', // a guard forbids writing to this target
  TARGET_STATE: 'refused', // the target does not hold the state it was said to hold
  MANIFEST_NOT_FOUND: 'refused',
  MANIFEST_AMBIGUOUS: 'refused', // more than one manifest answers to the reference
  REPOSITORY_EXISTS: 'refused',

  SOURCE_UNUSABLE: 'source', // missing, a directory, not readable, not a volume
  SOURCE_FAILED: 'source', // the source answered with an error, or with nonsense
  SOURCE_SHORT_READ: 'source', // fewer bytes than the volume has
  SOURCE_CHANGED: 'source', // the source moved while it was read
  CHANGES_FAILED: 'source', // the change map could not be had
  HYPERVISOR_FAILED: 'source', // the hypervisor did not answer, or answered with an error or nonsense

  REPOSITORY_NOT_FOUND: 'repository',
  REPOSITORY_UNSUPPORTED: 'repository', // written by a newer version, or with features we lack
  OBJECT_NOT_FOUND: 'repository', // the backend answered: no such object
  OBJECT_EXISTS: 'repository', // nothing is ever written over
  BACKEND_FAILED: 'repository', // the backend did not answer, or answered nonsense
  BACKEND_FULL: 'repository',

  TARGET_UNUSABLE: 'target',
  TARGET_FAILED: 'target',
  TARGET_FULL: 'target',

  CHUNK_CORRUPT: 'integrity', // stored bytes no longer match the digest that names them
  CHUNK_MISSING: 'integrity', // a manifest names a chunk that no segment knows
  PACK_CORRUPT: 'integrity',
  PAGE_CORRUPT: 'integrity',
  SEGMENT_CORRUPT: 'integrity',
  MANIFEST_CORRUPT: 'integrity',
  CONFIG_CORRUPT: 'integrity',
  AUDIT_MISMATCH: 'integrity', // a slot that was called clean is not
  READBACK_MISMATCH: 'integrity', // the target does not hold what was written to it
  CODEC_FAILED: 'integrity', // stored bytes do not decode to the length that was recorded

  CANCELLED: 'cancelled',
  INTERNAL: 'internal',
} as const satisfies Record<string, ErrorKind>

/** What went wrong; the list grows, but a code never changes its meaning. */
export type MoverErrorCode = keyof typeof KINDS

/** Whose fault `code` stands for. */
export function errorKind(code: MoverErrorCode): ErrorKind {
  return KINDS[code]
}

/** Whether `code`, which came from outside (the addon, a worker), is one of ours. */
export function isMoverErrorCode(code: string): code is MoverErrorCode {
  return Object.hasOwn(KINDS, code)
}
