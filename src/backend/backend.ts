/** Where objects live: named, immutable, written once. A directory now, S3 later, memory in tests. */
import type { AbortOptions } from '../core/abort.js'
import type { MoverError } from '../core/errors.js'
import type { ObjectPrefix } from './object-name.js'

/**
 * Named objects that are written once. Only a clear "no" is a no: whatever the backend could not
 * answer is BACKEND_FAILED, never an absent object or a shorter list. Names that `object-name.ts`
 * does not know are a bug of the caller.
 */
export interface Backend {
  /** The folder of the repository, where the native core reads packs; null if there is none. */
  readonly localRoot: string | null

  /** Where a session makes the temporary files it will publish: this prefix and any suffix. */
  tempPrefix(sessionId: string): string

  /** Makes an object, durable when this resolves. OBJECT_EXISTS if the name is taken; BACKEND_FULL. */
  put(name: string, bytes: Uint8Array, options?: AbortOptions): Promise<void>

  /**
   * Gives temporary files, durable already, their names, and resolves when the names are durable
   * too; the temporary names go. OBJECT_EXISTS if a name is taken: that object and all the others
   * are durable then as well. After any other error none of the files has its name, but for segments:
   * another session may have found chunks in these.
   */
  publish(files: readonly PublishedFile[], options?: AbortOptions): Promise<void>

  /** Makes the names durable that are there now, whoever published them. */
  settle(prefix: 'index/', options?: AbortOptions): Promise<void>

  /** All bytes of an object; BACKEND_FAILED if it is empty, cut while it is read, or over `maxBytes`. */
  get(name: string, options: GetOptions): Promise<Uint8Array>

  /** As `get` for each of these names, in their order; what one failed with stands in its place. */
  getMany(
    names: readonly string[],
    options: GetOptions,
  ): Promise<readonly (Uint8Array | MoverError)[]>

  /** Exactly `length` bytes from `offset`; BACKEND_FAILED if the object ends before. */
  getRange(
    name: string,
    offset: number,
    length: number,
    options?: AbortOptions,
  ): Promise<Uint8Array>

  /** Whether the name is taken. */
  has(name: string, options?: AbortOptions): Promise<boolean>

  /** Bytes of the object; OBJECT_NOT_FOUND where there is none. */
  size(name: string, options?: AbortOptions): Promise<number>

  /** The objects under a prefix, in ascending order of their names; what is no object is left out. */
  list(prefix: ObjectPrefix, options?: AbortOptions): AsyncIterable<ListedObject>

  /** As `list`, by name alone. */
  listNames(prefix: ObjectPrefix, options?: AbortOptions): AsyncIterable<string>

  /** Removes an object, or finds it gone: for dead sessions and replaced segments only. */
  remove(name: string, options?: AbortOptions): Promise<void>
}

/** An object's name and size. */
export interface ListedObject {
  readonly name: string
  readonly bytes: number
}

/** A durable temporary file and the name it is to get. */
export interface PublishedFile {
  readonly tempPath: string
  readonly name: string
}

/** `maxBytes` is checked before anything is allocated. */
export interface GetOptions extends AbortOptions {
  readonly maxBytes: number
}
