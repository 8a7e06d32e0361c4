import type { Job } from '../core/job.js'
import type { Report } from './report.js'

/** Reports a job's events and waits for its result; whatever happens, the job has ended after it. */
export async function followJob<T>(job: Job<T>, report: Report): Promise<T> {
  await using running = job

  for await (const event of running.events) await report.event(event)
  return await running.result
}
