import type { ProgressEvent } from '../core/progress.js'
import { formatBytes, formatDuration, formatRate } from '../core/units.js'

/** One moment of a job, as a person is told of it. */
export interface ProgressMoment {
  /** The step under way; null before the first. */
  readonly stage: string | null
  readonly progress: ProgressEvent
}

/** The rightmost column stays free: writing to it makes some terminals begin a new line. */
const MARGIN = 1

/**
 * The progress as one line of less than `columns` characters. Where it does not fit, whole parts
 * are left out, the least telling first; a number is never cut.
 */
export function progressLine(moment: ProgressMoment, columns: number): string {
  let parts = partsOf(moment)
  while (parts.length > 0) {
    const line = parts.map(({ text }) => text).join('  ')
    if (line.length <= columns - MARGIN) return line
    const last = Math.max(...parts.map(({ rank }) => rank))
    parts = parts.filter(({ rank }) => rank !== last)
  }
  return ''
}

/** The progress as part of a log: nothing is left out, nothing padded. */
export function progressSentence(moment: ProgressMoment): string {
  return partsOf(moment)
    .map(({ text }) => text.trim())
    .join(', ')
}

/** A piece of the line; of two, the one of lower rank stays longer. */
interface Part {
  readonly text: string
  readonly rank: number
}

function partsOf({ stage, progress }: ProgressMoment): readonly Part[] {
  const { bytesDone, bytesTotal, bytesPerSecond, etaSeconds, limitedBy } = progress
  const parts: (Part | null)[] = [
    stage === null ? null : { text: stage, rank: 4 },
    { text: `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`, rank: 1 },
    { text: `${percentOf(bytesDone, bytesTotal)}%`.padStart(4), rank: 0 },
    { text: formatRate(bytesPerSecond), rank: 2 },
    etaSeconds === null ? null : { text: `ETA ${formatDuration(etaSeconds)}`, rank: 3 },
    limitedBy === null ? null : { text: `limited by ${LIMITS[limitedBy]}`, rank: 5 },
  ]
  return parts.filter(part => part !== null)
}

/** Rounded down: 100 is said only of what is done. */
function percentOf(bytesDone: number, bytesTotal: number): number {
  return bytesTotal === 0 ? 100 : Math.min(100, Math.floor((bytesDone / bytesTotal) * 100))
}

const LIMITS: Readonly<Record<NonNullable<ProgressEvent['limitedBy']>, string>> = {
  read: 'reading',
  compute: 'the processor',
  write: 'writing',
  rate: '--rate',
}
