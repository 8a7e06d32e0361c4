import { MoverError } from './errors.js'
import {
  BYTES_IN_FLIGHT_DEFAULT,
  BYTES_IN_FLIGHT_MIN,
  RATE_BYTES_MIN,
  WORKERS_MAX,
} from './limits.js'

/** What a job may take of the machine, as a caller says it. */
export interface BudgetOptions {
  /** Worker threads, 1 to 256; by default one a core, at most 8, fewer for small jobs. */
  readonly workers?: number | null
  /** Limit of the rate at which the volume, or its stored bytes, are read, in bytes a second; 64 KiB or more. */
  readonly bytesPerSecond?: number | null
  /** Bound of the memory for what is being read, packed and written: 16 MiB or more, 128 MiB by default. */
  readonly bytesInFlight?: number
}

export type Budgets = Required<BudgetOptions>

/** Applies the defaults. Throws ARGUMENT_INVALID for what no job can keep to. */
export function withBudgetDefaults(options: BudgetOptions): Budgets {
  const { workers = null, bytesPerSecond = null } = options
  const { bytesInFlight = BYTES_IN_FLIGHT_DEFAULT } = options
  if (workers !== null && !(Number.isInteger(workers) && workers >= 1 && workers <= WORKERS_MAX)) {
    throw unusable(`${workers} worker threads`, `give 1 to ${WORKERS_MAX}, or none for the default`)
  }
  if (bytesPerSecond !== null && !(bytesPerSecond >= RATE_BYTES_MIN && bytesPerSecond < Infinity)) {
    throw unusable(`a rate of ${bytesPerSecond} bytes a second`, 'give 64KiB/s or more, or none')
  }
  if (!Number.isSafeInteger(bytesInFlight) || bytesInFlight < BYTES_IN_FLIGHT_MIN) {
    throw unusable(`${bytesInFlight} bytes in flight`, 'give 16 MiB or more, or none for 128 MiB')
  }
  return { workers, bytesPerSecond, bytesInFlight }
}

function unusable(what: string, remedy: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `no job can work with ${what}`, {
    stage: 'plan',
    remedy,
  })
}
