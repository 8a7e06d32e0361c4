import { MoverError } from '../core/errors.js'
import { formatBytes } from '../core/units.js'
import { printable } from './printable.js'
import type { Failure } from './report.js'

/** What is reported of anything that was thrown; what is no MoverError is a bug and says so. */
export function failureOf(error: unknown): Failure {
  if (error instanceof MoverError) {
    const { code, stage, message, offset, retryable, details } = error
    const remedy = error.remedy ?? (code === 'INTERNAL' ? REPORT_IT : null)
    return { code, stage, message, remedy, offset, retryable, details }
  }
  return {
    code: 'INTERNAL',
    stage: null,
    message: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    remedy: isCode(error, 'ERR_DLOPEN_FAILED') ? INSTALL_IT : REPORT_IT,
    offset: null,
    retryable: false,
    details: null,
  }
}

const INSTALL_IT = 'install what is missing: mover needs glibc, libstdc++ and libgcc_s of this host'
const REPORT_IT = 'this is a bug in mover: please report it, with what MOVER_DEBUG=1 makes it print'

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** The lines that a person reads: `mover: backup: message`, and what to try. */
export function failureLines(failure: Failure, prefix: string): readonly string[] {
  const { message, offset, remedy } = failure
  // Messages often name the offset themselves; twice would look like two places.
  const isNamed = offset === null || message.includes(String(offset))
  const place = isNamed ? '' : ` (at byte ${offset}${sizeHint(offset)})`
  const first = `${prefix}: ${printable(message)}${place}`
  return remedy === null ? [first] : [first, `  try: ${printable(remedy)}`]
}

function sizeHint(offset: number): string {
  return offset < 1024 ? '' : `, ${formatBytes(offset)}`
}
