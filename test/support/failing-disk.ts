import { NODE_DISK } from '../../src/backend/disk.js'
import type { Disk, DiskFile } from '../../src/backend/disk.js'

/** A call of the disk, or of a file or folder that it opened. */
export type DiskCall = keyof Disk | keyof DiskFile

/** What fails, with which system code; the `nth` call of that name and all later ones. */
export interface Failure {
  readonly call: DiskCall
  readonly code: string
  readonly nth?: number
}

/** The disk of this machine, except that some calls fail: without having done anything, but for a close. */
export function failingDisk({ call, code, nth = 1 }: Failure): Disk {
  let calls = 0
  const guard = <T extends object>(inner: T): T =>
    new Proxy(inner, {
      get(_, name) {
        const method: unknown = Reflect.get(inner, name)
        if (typeof method !== 'function') return method
        return (...values: unknown[]): unknown => {
          const isFailing = name === call && ++calls >= nth
          if (isFailing && name !== 'close') return Promise.reject(systemError(code))
          const answer: unknown = method.apply(inner, values)
          // A file that fails to close is closed all the same.
          if (isFailing)
            return (answer as Promise<void>).then(() => Promise.reject(systemError(code)))
          return name === 'open' ? (answer as Promise<DiskFile>).then(guard) : answer
        }
      },
    })
  const disk: Disk = { ...NODE_DISK }
  // Every file is read by the calls that can be made to fail.
  delete disk.readTogether
  return guard(disk)
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected`), { code })
}
