/** Whether disks of a domain that is off were written to meanwhile: started and stopped again, it looks as before. */
import { readFileSync, statSync } from 'node:fs'
import { MoverError } from '../../core/errors.js'
import type { OpenDomain } from './open-domain.js'

/** By the path of each image and device: what changes when it is written to. */
export type DiskMarks = ReadonlyMap<string, string>

/** Of the disks that were chosen, and of what is known to lie below them. */
export function diskMarks({ chosen: { disks } }: OpenDomain): DiskMarks {
  const paths = disks.flatMap(({ path, below }) => [path, ...below])
  return new Map(paths.map(path => [path, markOf(path)]))
}

/** Throws SOURCE_CHANGED where one of the disks is not as it was `before`. */
export function refuseWritten(open: OpenDomain, before: DiskMarks): void {
  const moved = [...diskMarks(open)].find(([path, mark]) => before.get(path) !== mark)
  if (moved === undefined) return
  const message = `'${moved[0]}' of domain '${open.domain.name}' was written to while its disks were read`
  throw new MoverError('SOURCE_CHANGED', message, {
    stage: 'read',
    retryable: true,
    remedy: 'back it up again while nothing writes to it, or while it runs',
  })
}

/** Nothing of what cannot be looked at, which the backup itself will tell. */
function markOf(path: string): string {
  try {
    const seen = statSync(path, { bigint: true })
    if (!seen.isBlockDevice()) {
      return [seen.dev, seen.ino, seen.size, seen.mtimeNs, seen.ctimeNs].join(' ')
    }
    return `${seen.rdev} ${writesTo(seen.rdev)}`
  } catch {
    return ''
  }
}

/** Sectors that this host has written to a device and discarded of it, as the kernel counts them. */
function writesTo(rdev: bigint): string {
  const major = ((rdev / 256n) % 4096n) + (rdev / 2n ** 44n) * 4096n
  const minor = (rdev % 256n) + ((rdev / 2n ** 20n) % 2n ** 24n) * 256n
  const counts = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, 'utf8').trim().split(/\s+/)
  return `${counts[6] ?? ''} ${counts[13] ?? ''}`
}
