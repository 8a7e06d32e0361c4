/** What a job of several disks says of one of them. */
import { MoverError, retold } from './core/errors.js'
import type { JobContext } from './core/job.js'

/** Lets events name the disk, where nothing named one before. */
export function tellDisk(emit: JobContext['emit'], disk: string): JobContext['emit'] {
  return event => emit({ disk, ...event })
}

/** The error, naming the disk in its message and as `details.disk`; what is no MoverError stays as it is. */
export function errorOfDisk(error: unknown, disk: string): unknown {
  if (!(error instanceof MoverError)) return error
  return retold(error, { message: `disk ${disk}: ${error.message}`, details: { disk } })
}
