/**
 * The few calls of the file system that the directory backend stands on. `node:fs/promises` has
 * them all; tests put disks in its place that fail, or forget what was not synced.
 */
import * as fs from 'node:fs/promises'
import { native } from '../native/addon.js'

/** What `local-backend.ts` needs of a file system; errors are Node's, with their system codes. */
export interface Disk {
  open(path: string, flags: number, mode?: number): Promise<DiskFile>
  /** Gives a file a second name; EEXIST if that is taken. */
  link(path: string, name: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<unknown>
  readdir(path: string): Promise<string[]>
  lstat(path: string): Promise<DiskEntry>
  /**
   * Small files in one go; null for one that is to be read by itself, whatever is wrong with it. Only a
   * quicker way, which a disk need not have.
   */
  readTogether?(paths: readonly string[], bytesMax: number): Promise<(Uint8Array | null)[]>
}

/** An open file; a folder can be opened too, to be synced. */
export interface DiskFile {
  read(
    into: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }>
  write(
    from: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>
  stat(): Promise<DiskEntry>
  datasync(): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** What lies under a name. */
export interface DiskEntry {
  readonly size: number
  isFile(): boolean
}

/** The disk of this machine. */
export const NODE_DISK: Disk = { ...fs, readTogether }

async function readTogether(
  paths: readonly string[],
  bytesMax: number,
): Promise<(Uint8Array | null)[]> {
  const together = await native(addon => addon.readTogether(paths, bytesMax), 'open')
  const lengths = new DataView(together.buffer, together.byteOffset, together.byteLength)
  let at = 0
  return paths.map(() => {
    const [first, end] = [at + 4, at + 4 + lengths.getUint32(at, true)]
    at = end
    return first === end ? null : together.subarray(first, end)
  })
}
