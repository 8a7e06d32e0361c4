/**
 * Objects as files of a directory. A new one is written under a temporary name, made durable, and
 * linked under its own: link(2) never replaces anything, as a conditional put on S3 does not.
 */
import { randomBytes } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import { forEachAtMost } from '../core/at-most.js'
import { inTurn } from '../core/in-turn.js'
import { throwIfAborted } from '../core/abort.js'
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import type { Backend, GetOptions, ListedObject, PublishedFile } from './backend.js'
import { backendError, outcomeOf, systemCode, writingError } from './backend-error.js'
import { NODE_DISK } from './disk.js'
import type { Disk, DiskFile } from './disk.js'
import { makeFolder, syncFolder, writeDurableFile } from './durable-file.js'
import { TEMPORARY_FOLDER, checkRoot, createRoot } from './local-root.js'
import {
  checkObjectName,
  checkObjectPrefix,
  isObjectFolder,
  isObjectName,
  isSegmentName,
} from './object-name.js'
import type { ObjectPrefix } from './object-name.js'
import { READ_FILE } from './open-flags.js'

/** Calls of the file system under way together, so that each need not wait for the way of the one before. */
const CALLS_AT_A_TIME = 16

/** Objects in a directory; all of it belongs to one user (0700, 0600) and lies on one file system. */
export class LocalBackend implements Backend {
  readonly localRoot: string
  readonly #disk: Disk

  private constructor(root: string, disk: Disk) {
    this.localRoot = root
    this.#disk = disk
  }

  /** Makes a repository's folders and opens them; as `createRoot`. */
  static async create(path: string, disk: Disk = NODE_DISK): Promise<LocalBackend> {
    const root = resolve(path)
    await createRoot(disk, root)
    return new LocalBackend(root, disk)
  }

  /** Opens the directory of a repository; REPOSITORY_NOT_FOUND where it clearly is none. */
  static async open(path: string, disk: Disk = NODE_DISK): Promise<LocalBackend> {
    const root = resolve(path)
    await checkRoot(disk, root)
    return new LocalBackend(root, disk)
  }

  tempPrefix(sessionId: string): string {
    return join(this.localRoot, TEMPORARY_FOLDER, `${sessionId}.`)
  }

  async put(name: string, bytes: Uint8Array, options?: AbortOptions): Promise<void> {
    checkObjectName(name)
    throwIfAborted(options)
    invariant(bytes.length > 0, 'an object has bytes: an empty one is what a crash leaves')
    const tempPath = `${this.tempPrefix(randomBytes(16).toString('hex'))}object`
    try {
      await writeDurableFile(this.#disk, { path: tempPath, bytes })
    } catch (cause) {
      throw writingError(cause, `cannot write object ${name}`)
    }
    try {
      await this.publish([{ tempPath, name }], options)
    } catch (error) {
      await Promise.allSettled([this.#disk.unlink(tempPath)])
      throw error
    }
  }

  async publish(files: readonly PublishedFile[], options?: AbortOptions): Promise<void> {
    for (const { name } of files) checkObjectName(name)
    throwIfAborted(options)
    const linked: string[] = []
    let taken: MoverError | null = null
    try {
      taken = await this.#linkAndSync(files, linked)
    } catch (error) {
      // A name that may not last must not be seen: another session would build on it. A segment may
      // have been seen already: whoever found chunks in it settles its name before naming them.
      await Promise.allSettled(linked.map(path => this.#disk.unlink(path)))
      throw error
    }
    // Who is told that an object exists may build on it: by now its name lasts, whoever made it.
    if (taken !== null) throw taken
    // What is committed does not fail for a name that is left over: its session takes that along.
    await Promise.allSettled(files.map(({ tempPath }) => this.#disk.unlink(tempPath)))
  }

  async settle(prefix: 'index/', options?: AbortOptions): Promise<void> {
    throwIfAborted(options)
    await this.#sync(this.#path(prefix))
  }

  async get(name: string, { maxBytes, ...options }: GetOptions): Promise<Uint8Array> {
    return this.#read(name, options, async file => {
      const { size } = await file.stat()
      if (size > maxBytes) {
        throw new MoverError('BACKEND_FAILED', `object ${name} has ${size} bytes, over ${maxBytes}`)
      }
      if (size === 0) throw new MoverError('BACKEND_FAILED', `object ${name} is empty`)
      return readExactly(file, { name, offset: 0, length: size })
    })
  }

  async getMany(
    names: readonly string[],
    options: GetOptions,
  ): Promise<(Uint8Array | MoverError)[]> {
    for (const name of names) checkObjectName(name)
    throwIfAborted(options)
    const paths = names.map(name => this.#path(name))
    const outcomes: (Uint8Array | MoverError | null)[] =
      (await this.#disk.readTogether?.(paths, options.maxBytes)) ?? paths.map(() => null)
    // Those that were not read together say by themselves what is wrong with them.
    const left = [...outcomes.keys()].filter(position => outcomes[position] === null)
    await forEachAtMost(CALLS_AT_A_TIME, left, async position => {
      outcomes[position] = await outcomeOf(this.get(names[position] ?? '', options))
    })
    return outcomes.filter(outcome => outcome !== null)
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    options?: AbortOptions,
  ): Promise<Uint8Array> {
    return this.#read(name, options, file => readExactly(file, { name, offset, length }))
  }

  async has(name: string, options?: AbortOptions): Promise<boolean> {
    try {
      await this.size(name, options)
      return true
    } catch (error) {
      // Only a clear "no" is a no. Anything else would make verify call a good pack lost.
      if (error instanceof MoverError && error.code === 'OBJECT_NOT_FOUND') return false
      throw error
    }
  }

  async size(name: string, options?: AbortOptions): Promise<number> {
    checkObjectName(name)
    throwIfAborted(options)
    try {
      return sizeOf(name, await this.#disk.lstat(this.#path(name)))
    } catch (cause) {
      throw backendError(cause, `cannot look up object ${name}`)
    }
  }

  async *list(prefix: ObjectPrefix, options?: AbortOptions): AsyncGenerator<ListedObject> {
    checkObjectPrefix(prefix)
    await this.#checkKind(prefix)
    const sized = async (names: readonly string[]) => {
      const objects = await Promise.all(names.map(name => this.#listed(name)))
      return objects.filter(object => object !== null)
    }
    for await (const objects of this.#folders(prefix.slice(0, -1), sized, options)) yield* objects
  }

  async *listNames(prefix: ObjectPrefix, options?: AbortOptions): AsyncGenerator<string> {
    checkObjectPrefix(prefix)
    await this.#checkKind(prefix)
    const asTheyAre = (names: readonly string[]) => Promise.resolve(names)
    for await (const names of this.#folders(prefix.slice(0, -1), asTheyAre, options)) yield* names
  }

  async remove(name: string, options?: AbortOptions): Promise<void> {
    checkObjectName(name)
    throwIfAborted(options)
    try {
      await this.#disk.unlink(this.#path(name))
    } catch (cause) {
      if (systemCode(cause) !== 'ENOENT') throw backendError(cause, `cannot remove object ${name}`)
    }
  }

  #path(name: string): string {
    return join(this.localRoot, name)
  }

  /** Links all, then syncs each folder once; answers the first name that was taken. */
  async #linkAndSync(
    files: readonly PublishedFile[],
    linked: string[],
  ): Promise<MoverError | null> {
    let taken: MoverError | null = null
    const folders = new Set<string>()
    await forEachAtMost(CALLS_AT_A_TIME, files, async ({ tempPath, name }) => {
      const path = this.#path(name)
      folders.add(dirname(path))
      try {
        for (const above of await this.#link(tempPath, path)) folders.add(above)
        if (!isSegmentName(name)) linked.push(path)
      } catch (cause) {
        const error = writingError(cause, `cannot publish object ${name}`)
        if (error.code !== 'OBJECT_EXISTS') throw error
        taken ??= error
      }
    })
    // After all links, so that a journal commits them in one transaction.
    await forEachAtMost(CALLS_AT_A_TIME, folders, folder => this.#sync(folder))
    return taken
  }

  async #sync(folder: string): Promise<void> {
    try {
      await syncFolder(this.#disk, folder)
    } catch (cause) {
      throw writingError(cause, `cannot make the names in ${folder} durable`)
    }
  }

  /** Links, making the folders that are missing; answers those to sync for their sake. */
  async #link(tempPath: string, path: string): Promise<string[]> {
    try {
      await this.#disk.link(tempPath, path)
      return []
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
    }
    const above = await makeFolder(this.#disk, dirname(path))
    await this.#disk.link(tempPath, path)
    return above
  }

  async #read<T>(
    name: string,
    options: AbortOptions | undefined,
    use: (file: DiskFile) => Promise<T>,
  ): Promise<T> {
    checkObjectName(name)
    throwIfAborted(options)
    try {
      const file = await this.#disk.open(this.#path(name), READ_FILE)
      try {
        return await use(file)
      } finally {
        await file.close()
      }
    } catch (cause) {
      throw backendError(cause, `cannot read object ${name}`)
    }
  }

  /**
   * A kind without its folder is a repository that is damaged or not mounted, not an empty one. But of doubts
   * there are mostly none, and copies that leave out empty folders are to be restored from.
   */
  async #checkKind(prefix: ObjectPrefix): Promise<void> {
    if (prefix === 'doubts/') return
    const folder = this.#path(prefix.slice(0, prefix.indexOf('/')))
    try {
      await this.#disk.lstat(folder)
    } catch (cause) {
      throw new MoverError('BACKEND_FAILED', `cannot list objects: folder ${folder} is gone`, {
        remedy: 'mount the repository again; if the folder was lost while copying, make it again',
        cause,
      })
    }
  }

  /**
   * What `look` answers for the names of the objects in a folder, and then in each folder below it. The
   * next folders are begun ahead: each takes the disk two looks or three, one after the other.
   */
  async *#folders<T>(
    folder: string,
    look: (names: readonly string[]) => Promise<readonly T[]>,
    options?: AbortOptions,
  ): AsyncGenerator<readonly T[]> {
    throwIfAborted(options)
    const names = (await this.#entries(folder)).sort().map(entry => `${folder}/${entry}`)
    const found = await look(names.filter(isObjectName))
    if (found.length > 0) yield found
    const below = names.filter(isObjectFolder)
    yield* inTurn(CALLS_AT_A_TIME, below, name => this.#folders(name, look, options))
  }

  async #entries(folder: string): Promise<string[]> {
    try {
      return await this.#disk.readdir(this.#path(folder))
    } catch (cause) {
      // The kind's own folder is there: so nothing was ever stored in this one.
      if (systemCode(cause) === 'ENOENT') return []
      throw backendError(cause, `cannot list objects in ${folder}`)
    }
  }

  async #listed(name: string): Promise<ListedObject | null> {
    try {
      return { name, bytes: await this.size(name) }
    } catch (error) {
      if (error instanceof MoverError && error.code === 'OBJECT_NOT_FOUND') return null
      throw error
    }
  }
}

function sizeOf(name: string, entry: { size: number; isFile(): boolean }): number {
  if (entry.isFile()) return entry.size
  throw new MoverError('BACKEND_FAILED', `object ${name} is not a regular file`)
}

async function readExactly(
  file: DiskFile,
  { name, offset, length }: { name: string; offset: number; length: number },
): Promise<Uint8Array> {
  // Every byte is overwritten below, or nothing is returned.
  const bytes = Buffer.allocUnsafe(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done)
    if (bytesRead === 0) {
      const message = `object ${name} ends at byte ${offset + done}, before ${offset + length}`
      throw new MoverError('BACKEND_FAILED', message, { offset: offset + done })
    }
    done += bytesRead
  }
  return bytes
}
