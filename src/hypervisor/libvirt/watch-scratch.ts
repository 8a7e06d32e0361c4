/** What the guest overwrites goes to the scratch folder: when that is full, the guest's own writes fail. */
import { statfsSync } from 'node:fs'
import { MoverError } from '../../core/errors.js'
import { formatBytes } from '../../core/units.js'

const LOOK_MS = 250
/** Too little is left where it is less than a quarter of the file system and less than 1 GiB. */
const FREE_PART_MIN = 1 / 4
const FREE_BYTES_MIN = 1024 ** 3

/** Free bytes where `folder` lies, and bytes in all. */
export function spaceOf(folder: string): { readonly free: number; readonly total: number } {
  // Not in a thread of libuv's: all of those may be reading, for as long as a call of the addon lasts.
  const { bavail, blocks, bsize } = statfsSync(folder)
  return { free: bavail * bsize, total: blocks * bsize }
}

/** Looks four times a second, and calls `alarm` once, before the folder is full. */
export function watchScratch(folder: string, alarm: (error: MoverError) => void): Disposable {
  const look = () => {
    const { free, total } = spaceOrAll(folder)
    if (free >= Math.min(FREE_BYTES_MIN, total * FREE_PART_MIN)) return
    clearInterval(timer)
    alarm(nearlyFull(folder, free))
  }
  const timer = setInterval(look, LOOK_MS)
  timer.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
    },
  }
}

/** A folder that cannot be looked at is no reason to end a backup. */
function spaceOrAll(folder: string): { readonly free: number; readonly total: number } {
  try {
    return spaceOf(folder)
  } catch {
    return { free: Infinity, total: Infinity }
  }
}

function nearlyFull(folder: string, free: number): MoverError {
  const message =
    `the backup was given up for the guest's sake: the scratch folder ${folder} has ${formatBytes(free)} ` +
    'left, and when it is full the writes of the guest fail'
  return new MoverError('SOURCE_FAILED', message, {
    stage: 'read',
    retryable: true,
    remedy:
      'name a folder with more room with --scratch; as much as the disks have is always enough',
  })
}
