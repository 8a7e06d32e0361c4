import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { throwIfAborted } from '../../src/core/abort.js'
import { startJob } from '../../src/core/job.js'
import { EVENTS_BUFFERED_MAX } from '../../src/core/limits.js'
import type { MoverEvent, ProgressEvent } from '../../src/core/progress.js'

function progress(bytesDone: number): ProgressEvent {
  const bytes = { volume: 0, read: 0, carried: 0, zero: 0, deduplicated: 0, stored: 0, written: 0 }
  return {
    type: 'progress',
    bytesDone,
    bytesTotal: 9,
    bytesPerSecond: 1,
    etaSeconds: null,
    limitedBy: null,
    bytes,
  }
}

async function collect(events: AsyncIterable<MoverEvent>): Promise<(string | number)[]> {
  const seen: (string | number)[] = []
  for await (const event of events) {
    seen.push(
      event.type === 'progress'
        ? event.bytesDone
        : event.type === 'stage'
          ? event.stage
          : event.type,
    )
  }
  return seen
}

t.test('events come in order and end with the job', async t => {
  const job = startJob(async ({ emit }) => {
    emit({ type: 'stage', stage: 'plan' })
    await delay(1)
    emit(progress(1))
    await delay(1)
    emit(progress(2))
    emit({ type: 'stage', stage: 'commit' })
    return 42
  })
  t.strictSame(await collect(job.events), ['plan', 1, 2, 'commit'])
  t.equal(await job.result, 42)
  t.strictSame(await collect(job.events), [], 'and stay ended')
})

t.test('a job nobody listens to keeps its newest progress and a bounded rest', async t => {
  const job = startJob(async ({ emit }) => {
    for (let warning = 0; warning < EVENTS_BUFFERED_MAX + 100; warning += 1) {
      emit({ type: 'stage', stage: String(warning) })
      emit(progress(warning))
    }
  })
  await job.result
  const seen = await collect(job.events)
  t.equal(seen.length, EVENTS_BUFFERED_MAX)
  t.equal(seen.at(-1), EVENTS_BUFFERED_MAX + 99, 'the newest progress is last')
  t.equal(seen.at(-2), String(EVENTS_BUFFERED_MAX + 99))
  t.equal(seen.filter(event => typeof event === 'number').length, 1, 'older progress is dropped')
})

t.test('a failure ends the events quietly and rejects the result', async t => {
  const job = startJob(async ({ emit }) => {
    emit({ type: 'stage', stage: 'read' })
    throw new Error('no such luck')
  })
  t.strictSame(await collect(job.events), ['read'])
  await t.rejects(job.result, { message: 'no such luck' })
})

t.test('a failure nobody looks at is no unhandled rejection', async t => {
  const unhandled: unknown[] = []
  const listen = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', listen)
  t.teardown(() => process.off('unhandledRejection', listen))
  startJob(() => Promise.reject(new Error('alone')))
  startJob(() => {
    throw new Error('thrown, not rejected')
  })
  await delay(20)
  t.strictSame(unhandled, [])
})

t.test('cancel and the caller’s signal reach the job with their reason', async t => {
  const reason = new Error('enough')
  const controller = new AbortController()
  const run = async ({ signal }: { signal: AbortSignal }) => {
    while (!signal.aborted) await delay(1)
    throwIfAborted({ signal })
  }
  const cancelled = startJob(run)
  cancelled.cancel(reason)
  await t.rejects(cancelled.result, { code: 'CANCELLED', cause: reason })
  const aborted = startJob(run, { signal: controller.signal })
  controller.abort(reason)
  await t.rejects(aborted.result, { code: 'CANCELLED', cause: reason })
})

t.test('an aborted signal keeps a job from beginning', async t => {
  let hasRun = false
  const job = startJob(
    async () => {
      hasRun = true
    },
    { signal: AbortSignal.abort() },
  )
  t.strictSame(await collect(job.events), [])
  await t.rejects(job.result, { code: 'CANCELLED' })
  t.equal(hasRun, false)
})

t.test('a finished job leaves nothing on the caller’s signal', async t => {
  const { signal } = new AbortController()
  let listeners = 0
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (...rest: Parameters<typeof add>) => (listeners++, add(...rest))
  signal.removeEventListener = (...rest: Parameters<typeof remove>) => (
    listeners--,
    remove(...rest)
  )
  await startJob(async () => 1, { signal }).result
  await startJob(async () => Promise.reject(new Error()), { signal }).result.catch(() => {})
  t.equal(listeners, 0)
})

t.test('disposing of a job cancels it and waits for its end', async t => {
  let hasEnded = false
  {
    await using job = startJob(async ({ signal }) => {
      while (!signal.aborted) await delay(1)
      await delay(10)
      hasEnded = true
      throwIfAborted({ signal })
    })
    t.ok(job)
  }
  t.equal(hasEnded, true)
  const done = startJob(async () => 'kept')
  t.equal(await done.result, 'kept')
  await done[Symbol.asyncDispose]()
  t.equal(await done.result, 'kept', 'and changes nothing once it has ended')
})

t.test('a reader that leaves does not stop the job', async t => {
  const job = startJob(async ({ emit }) => {
    for (let step = 0; step < 5; step += 1) {
      emit({ type: 'stage', stage: String(step) })
      await delay(1)
    }
    return 'done'
  })
  for await (const event of job.events) if (event.type === 'stage') break
  t.equal(await job.result, 'done')
})
