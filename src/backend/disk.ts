/**
 * The few calls of the file system that the directory backend stands on. `node:fs/promises` has
 * them all; tests put disks in its place that fail, or forget what was not synced.
 */
import * as fs from 'node:fs/promises'

/** What `local-backend.ts` needs of a file system; errors are Node's, with their system codes. */
export interface Disk {
  open(path: string, flags: number, mode?: number): Promise<DiskFile>
  /** Gives a file a second name; EEXIST if that is taken. */
  link(path: string, name: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<unknown>
  readdir(path: string): Promise<string[]>
  lstat(path: string): Promise<DiskEntry>
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
export const NODE_DISK: Disk = fs
