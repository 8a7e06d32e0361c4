/**
 * Writing so that it lasts: all bytes, fdatasync, a checked close; and names, by syncing the
 * folder they are in. What failed to sync is never tried again: after a failed fsync the kernel
 * may call a page clean that was not written.
 */
import { dirname } from 'node:path'
import { systemCode } from './backend-error.js'
import type { Disk, DiskFile } from './disk.js'
import { NEW_FILE, READ_FOLDER } from './open-flags.js'

const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

/** Makes a new file that is durable, but for its name, when this resolves; else there is none. */
export async function writeDurableFile(
  disk: Disk,
  { path, bytes }: { readonly path: string; readonly bytes: Uint8Array },
): Promise<void> {
  const file = await disk.open(path, NEW_FILE, FILE_MODE)
  try {
    await writeAll(file, bytes)
    await file.datasync()
  } catch (error) {
    await Promise.allSettled([file.close()])
    await Promise.allSettled([disk.unlink(path)])
    throw error
  }
  try {
    await file.close()
  } catch (error) {
    await Promise.allSettled([disk.unlink(path)])
    throw error
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(disk: Disk, path: string): Promise<void> {
  const folder = await disk.open(path, READ_FOLDER)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/**
 * Makes a folder and what is missing above it. Answers the folders whose names must be synced for
 * it to last: also those where another process was faster, for it may not have synced yet.
 */
export async function makeFolder(disk: Disk, path: string): Promise<string[]> {
  try {
    await disk.mkdir(path, FOLDER_MODE)
    return [dirname(path)]
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return [dirname(path)]
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error
  }
  const above = await makeFolder(disk, dirname(path))
  return [...above, ...(await makeFolder(disk, path))]
}

async function writeAll(file: DiskFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, done)
    done += bytesWritten
  }
}
