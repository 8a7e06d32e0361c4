/** What a session file says: who writes or reads, and how to tell that it no longer does. */
import { readFile } from 'node:fs/promises'
import { hostname, uptime } from 'node:os'
import { sealRecord, unsealRecord } from '../backend/sealed-record.js'
import { isDigestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'

/** A live writer or reader; times are by the clock of its host. */
export interface SessionRecord {
  readonly host: string
  /** Changes with each boot, and is shared by all containers of a kernel; null where unknown. */
  readonly bootId: string | null
  readonly pid: number
  readonly kind: 'read' | 'write'
  readonly startedMs: number
  /** Until then, a session that nobody can ask counts as live. */
  readonly deadlineMs: number
  /** Reserved for prune: the epoch in which the session began. */
  readonly pruneEpoch: 0
  /** Id of the manifest that a writer builds on, in hex; null for a reader. */
  readonly parent: string | null
}

/** This machine, as sessions name it. */
export interface Here {
  readonly host: string
  readonly bootId: string | null
  readonly bootedMs: number
}

const SESSION = {
  magic: 'MOVRSESS',
  context: 'mover 1 session',
  corrupt: 'BACKEND_FAILED',
} as const

/** The bytes of a session file. */
export function encodeSession(record: SessionRecord): Uint8Array {
  return sealRecord(SESSION, record)
}

/** Reads a session file's bytes; BACKEND_FAILED for anything but what `encodeSession` made. */
export function decodeSession(bytes: Uint8Array): SessionRecord {
  const value = unsealRecord(SESSION, bytes, 'the session file')
  if (isSessionRecord(value)) return value
  throw new MoverError(SESSION.corrupt, 'the session file has fields that mean nothing')
}

/** Asks this machine who it is. */
export async function whereWeAre(): Promise<Here> {
  return { host: hostname(), bootId: await bootId(), bootedMs: Date.now() - uptime() * 1000 }
}

/**
 * Whether the lock of a session's file tells if it lives. It does within one kernel, and after a
 * reboot. A session elsewhere may hold a lock that we cannot see, so its deadline must be over.
 * A host name alone proves nothing: another machine may have the same.
 */
export function isJudgedByLock(record: SessionRecord, here: Here, nowMs: number): boolean {
  const isThisKernel =
    record.bootId === null
      ? here.bootId === null && record.host === here.host
      : record.bootId === here.bootId
  const isBeforeBoot = record.host === here.host && record.startedMs < here.bootedMs
  return isThisKernel || isBeforeBoot || record.deadlineMs < nowMs
}

async function bootId(): Promise<string | null> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  } catch {
    // Without /proc the host's name has to do.
    return null
  }
}

function isSessionRecord(value: unknown): value is SessionRecord {
  if (typeof value !== 'object' || value === null) return false
  const record = value as Partial<Record<keyof SessionRecord, unknown>>
  return (
    typeof record.host === 'string' &&
    (record.bootId === null || typeof record.bootId === 'string') &&
    Number.isSafeInteger(record.pid) &&
    (record.kind === 'read' || record.kind === 'write') &&
    Number.isSafeInteger(record.startedMs) &&
    Number.isSafeInteger(record.deadlineMs) &&
    record.pruneEpoch === 0 &&
    (record.parent === null || (typeof record.parent === 'string' && isDigestHex(record.parent)))
  )
}
