/**
 * A directory backend on a disk that forgets what was not synced. Power can be cut at any step;
 * what is there afterwards is the worst that a file system may leave.
 */
import type { Disk, DiskEntry, DiskFile } from '../../src/backend/disk.js'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { NEW_FILE } from '../../src/backend/open-flags.js'

/** Where the repository lies on a crash disk. */
export const CRASH_ROOT = '/repository'

/** A new repository on a disk that can crash. */
export async function createCrashBackend(): Promise<{ backend: LocalBackend; disk: CrashDisk }> {
  const disk = new CrashDisk()
  return { backend: await LocalBackend.create(CRASH_ROOT, disk), disk }
}

/** What was not synced: forgotten all of it, or only the bytes while the names are there. */
export type Unsynced = 'forgotten' | 'named'

class Folder {
  /** Every name, and the names that a power cut leaves. */
  entries = new Map<string, Folder | File>()
  synced = new Map<string, Folder | File>()
}

class File {
  bytes = new Uint8Array(0)
  synced = new Uint8Array(0)
}

/** Files in memory behind `Disk`; each call that changes something is one step. */
export class CrashDisk implements Disk {
  #root: Folder
  #steps = 0
  #powerFailsAfter = Infinity

  constructor(root = new Folder()) {
    this.#root = root
  }

  /** Steps so far. */
  get steps(): number {
    return this.#steps
  }

  /** Lets so many more steps happen; then every call fails, as if the process were gone. */
  cutPowerAfter(steps: number): void {
    this.#powerFailsAfter = this.#steps + steps
  }

  /** The disk as it is found when the power is back. */
  afterCrash(unsynced: Unsynced): CrashDisk {
    return new CrashDisk(survivor(this.#root, unsynced))
  }

  async open(path: string, flags: number): Promise<DiskFile> {
    this.#checkPower()
    if (flags === NEW_FILE) {
      this.#step()
      const file = new File()
      this.#add(path, file)
      return this.#fileHandle(file)
    }
    const node = this.#find(path)
    return node instanceof File ? this.#fileHandle(node) : this.#folderHandle(node)
  }

  async link(path: string, name: string): Promise<void> {
    this.#step()
    this.#add(name, this.#find(path))
  }

  async unlink(path: string): Promise<void> {
    this.#step()
    const { folder, name } = this.#parent(path)
    if (!folder.entries.delete(name)) throw systemError('ENOENT')
  }

  async mkdir(path: string): Promise<void> {
    this.#step()
    this.#add(path, new Folder())
  }

  async readdir(path: string): Promise<string[]> {
    this.#checkPower()
    const node = this.#find(path)
    if (node instanceof File) throw systemError('ENOTDIR')
    return [...node.entries.keys()]
  }

  async lstat(path: string): Promise<DiskEntry> {
    this.#checkPower()
    return entryOf(this.#find(path))
  }

  #fileHandle(file: File): DiskFile {
    const sync = async (): Promise<void> => {
      this.#step()
      file.synced = file.bytes.slice()
    }
    return {
      read: async (into, offset, length, position) => {
        this.#checkPower()
        const part = file.bytes.subarray(position, position + length)
        into.set(part, offset)
        return { bytesRead: part.length }
      },
      // At most 7 bytes at a time: a write may always be shorter than what was asked for.
      write: async (from, offset, length, position) => {
        this.#step()
        const part = from.subarray(offset, offset + Math.min(length, 7))
        const bytes = new Uint8Array(Math.max(file.bytes.length, position + part.length))
        bytes.set(file.bytes)
        bytes.set(part, position)
        file.bytes = bytes
        return { bytesWritten: part.length }
      },
      stat: async () => entryOf(file),
      datasync: sync,
      sync,
      close: async () => this.#checkPower(),
    }
  }

  #folderHandle(folder: Folder): DiskFile {
    const unsupported = (): never => {
      throw systemError('EISDIR')
    }
    return {
      read: unsupported,
      write: unsupported,
      datasync: unsupported,
      stat: async () => entryOf(folder),
      sync: async () => {
        this.#step()
        folder.synced = new Map(folder.entries)
      },
      close: async () => this.#checkPower(),
    }
  }

  #add(path: string, node: Folder | File): void {
    const { folder, name } = this.#parent(path)
    if (folder.entries.has(name)) throw systemError('EEXIST')
    folder.entries.set(name, node)
  }

  #parent(path: string): { folder: Folder; name: string } {
    const end = path.lastIndexOf('/')
    const folder = this.#find(path.slice(0, end))
    if (folder instanceof File) throw systemError('ENOTDIR')
    return { folder, name: path.slice(end + 1) }
  }

  #find(path: string): Folder | File {
    let node: Folder | File = this.#root
    for (const name of path.split('/').filter(name => name !== '')) {
      if (node instanceof File) throw systemError('ENOTDIR')
      const next: Folder | File | undefined = node.entries.get(name)
      if (next === undefined) throw systemError('ENOENT')
      node = next
    }
    return node
  }

  #step(): void {
    this.#checkPower()
    this.#steps += 1
  }

  #checkPower(): void {
    if (this.#steps >= this.#powerFailsAfter) throw systemError('EIO')
  }
}

function survivor(folder: Folder, unsynced: Unsynced): Folder {
  const found = new Folder()
  for (const [name, node] of unsynced === 'named' ? folder.entries : folder.synced) {
    found.entries.set(name, node instanceof Folder ? survivor(node, unsynced) : fileAfter(node))
  }
  found.synced = new Map(found.entries)
  return found
}

function fileAfter({ synced }: File): File {
  const file = new File()
  file.bytes = synced.slice()
  file.synced = synced.slice()
  return file
}

function entryOf(node: Folder | File): DiskEntry {
  return { size: node instanceof File ? node.bytes.length : 0, isFile: () => node instanceof File }
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: on the crash disk`), { code })
}
