import { native } from './addon.js'

/** Running totals of an encoding job, in bytes; waits in nanoseconds. */
export interface EncodeProgress {
  readonly read: number
  readonly zero: number
  readonly known: number
  readonly stored: number
  readonly packBytes: number
  readonly readWaitNs: number
  readonly writeWaitNs: number
  readonly rateWaitNs: number
}

/** Reads an encoding job's shared counters; they never run backwards. */
export function encodeProgress(job: number): EncodeProgress {
  const counters = native(addon => addon.jobCounters(job), 'read')
  const at = (position: number) => counters[position] ?? 0
  return {
    read: at(0),
    zero: at(1),
    known: at(2),
    stored: at(3),
    packBytes: at(6),
    readWaitNs: at(7),
    writeWaitNs: at(8),
    rateWaitNs: at(9),
  }
}
