/** What libvirt says when something did not work. */
import { MoverError, type MoverErrorCode } from '../../core/errors.js'
import { XdrReader } from './xdr.js'

/** Codes that we look at: virErrorNumber in libvirt's include/libvirt/virterror.h. */
export const LIBVIRT_ERRORS = {
  noSupport: 3,
  invalidArgument: 8,
  operationDenied: 29,
  noDomain: 42,
  authFailed: 45,
  operationInvalid: 55,
  configUnsupported: 67,
  operationTimeout: 68,
  operationUnsupported: 84,
  resourceBusy: 87,
  accessDenied: 88,
  authUnavailable: 94,
  noDomainCheckpoint: 103,
  noDomainBackup: 104,
  checkpointInconsistent: 109,
} as const

/** What the hypervisor would not do, and will not do when it is asked again. */
const REFUSALS: readonly number[] = [
  LIBVIRT_ERRORS.noSupport,
  LIBVIRT_ERRORS.operationDenied,
  LIBVIRT_ERRORS.noDomain,
  LIBVIRT_ERRORS.authFailed,
  LIBVIRT_ERRORS.operationInvalid,
  LIBVIRT_ERRORS.configUnsupported,
  LIBVIRT_ERRORS.operationUnsupported,
  LIBVIRT_ERRORS.resourceBusy,
  LIBVIRT_ERRORS.accessDenied,
  LIBVIRT_ERRORS.authUnavailable,
]

const REMEDIES = new Map<number, string>([
  [
    LIBVIRT_ERRORS.operationTimeout,
    'another job holds the domain; virsh domjobinfo DOMAIN says which, and when it has ended try again',
  ],
  [LIBVIRT_ERRORS.accessDenied, 'run mover as a user who may manage the domain, such as root'],
  [
    LIBVIRT_ERRORS.operationDenied,
    'use the read-write socket of libvirt, and a user who may use it',
  ],
  [LIBVIRT_ERRORS.noDomain, 'virsh list --all names the domains that there are'],
])

/**
 * The error in the body of a reply: virNetMessageError in src/rpc/virnetprotocol.x, its first three
 * fields. It keeps libvirt's own words, and its number in `details.libvirt`.
 */
export function libvirtError(body: Buffer, doing: string): MoverError {
  const reader = new XdrReader(body)
  const number = reader.int()
  reader.int() // The part of libvirt that it came from.
  const said = reader.optional(() => reader.string()) ?? 'it gives no reason'
  const isRefusal = REFUSALS.includes(number)
  const code: MoverErrorCode = isRefusal ? 'HYPERVISOR_REFUSED' : 'HYPERVISOR_FAILED'
  return new MoverError(code, `cannot ${doing}: libvirt says: ${said}`, {
    remedy: REMEDIES.get(number) ?? null,
    retryable: number === LIBVIRT_ERRORS.operationTimeout || number === LIBVIRT_ERRORS.resourceBusy,
    details: { libvirt: number },
  })
}

/** Whether `error` is libvirt's of that number. */
export function isLibvirtError(error: unknown, number: number): error is MoverError {
  return error instanceof MoverError && error.details?.['libvirt'] === number
}
