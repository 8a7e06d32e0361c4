import type { ByteOutcome, MoverEvent } from '../core/progress.js'

/** Running totals that the meter turns into events. */
export interface MeterReading {
  readonly bytesDone: number
  /** Of the computing threads since the job began; null where nobody counts. */
  readonly waits: MeterWaits | null
  readonly bytes?: ByteOutcome
}

/** In nanoseconds. */
export interface MeterWaits {
  readonly readWaitNs: number
  readonly writeWaitNs: number
  readonly rateWaitNs: number
}

const TICK_MS = 250
/** The rate is that of about the last two seconds. */
const WINDOW_TICKS = 8

/**
 * Emits a progress event four times a second until it is disposed of, and one more then. Counters
 * are read from memory shared with the native threads, so that no thread is asked for anything.
 */
export function startProgressMeter(
  read: () => MeterReading,
  { bytesTotal, emit }: { readonly bytesTotal: number; readonly emit: (event: MoverEvent) => void },
): Disposable {
  const window: { readonly atMs: number; readonly reading: MeterReading }[] = []
  let bytesDoneMax = 0
  const tick = () => {
    const reading = read()
    window.push({ atMs: performance.now(), reading })
    if (window.length > WINDOW_TICKS) window.shift()
    bytesDoneMax = Math.max(bytesDoneMax, reading.bytesDone)
    const bytesPerSecond = rateOf(window)
    const left = Math.max(bytesTotal - bytesDoneMax, 0)
    emit({
      type: 'progress',
      bytesDone: bytesDoneMax,
      bytesTotal: Math.max(bytesTotal, bytesDoneMax),
      bytesPerSecond,
      etaSeconds: bytesPerSecond > 0 ? left / bytesPerSecond : null,
      limitedBy: limitOf(window),
      bytes: reading.bytes ?? null,
    })
  }
  const timer = setInterval(tick, TICK_MS)
  timer.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      tick()
    },
  }
}

type Window = readonly { readonly atMs: number; readonly reading: MeterReading }[]

function rateOf(window: Window): number {
  const first = window[0]
  const last = window.at(-1)
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0
  const bytes = last.reading.bytesDone - first.reading.bytesDone
  return Math.max(0, (bytes * 1000) / (last.atMs - first.atMs))
}

/** The stage that the computing threads waited for most; where they hardly waited, computing itself. */
function limitOf(window: Window): 'read' | 'compute' | 'write' | 'rate' | null {
  const first = window[0]
  const last = window.at(-1)
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return null
  const [before, after] = [first.reading.waits, last.reading.waits]
  if (before === null || after === null) return null
  const elapsedNs = (last.atMs - first.atMs) * 1e6
  const stages = (['read', 'write', 'rate'] as const).map(stage => ({
    stage,
    ns: after[`${stage}WaitNs`] - before[`${stage}WaitNs`],
  }))
  const longest = stages.reduce((a, b) => (b.ns > a.ns ? b : a))
  return longest.ns > elapsedNs / 4 ? longest.stage : 'compute'
}
