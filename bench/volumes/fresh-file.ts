import { closeSync, openSync, rmSync, writeSync } from 'node:fs'

/** Writes pieces one after the other into a new file, in place of one that may be there. */
export function writeGranulesTo(path: string, pieces: Iterable<Buffer>): void {
  rmSync(path, { force: true })
  const file = openSync(path, 'wx')
  try {
    for (const piece of pieces) writeSync(file, piece)
  } finally {
    closeSync(file)
  }
}
