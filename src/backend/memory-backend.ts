/** Objects in memory: a real backend, for tests and for trying things out. */
import { throwIfAborted } from '../core/abort.js'
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import type { Backend, GetOptions, ListedObject, PublishedFile } from './backend.js'
import { outcomeOf } from './backend-error.js'
import { checkObjectName, checkObjectPrefix } from './object-name.js'
import type { ObjectPrefix } from './object-name.js'

/** Keeps copies of what it is given and hands out copies of what it keeps. */
export class MemoryBackend implements Backend {
  readonly localRoot = null
  readonly #objects = new Map<string, Uint8Array>()
  readonly #temporary = new Map<string, Uint8Array>()

  tempPrefix(sessionId: string): string {
    return `tmp/${sessionId}.`
  }

  /** Makes a temporary file that can be published. */
  writeTemporary(tempPath: string, bytes: Uint8Array): void {
    invariant(!this.#temporary.has(tempPath), 'a temporary file is written once')
    this.#temporary.set(tempPath, Uint8Array.from(bytes))
  }

  async put(name: string, bytes: Uint8Array, options?: AbortOptions): Promise<void> {
    await asked(name, options)
    invariant(bytes.length > 0, 'an object has bytes')
    if (this.#objects.has(name)) throw exists(name)
    this.#objects.set(name, Uint8Array.from(bytes))
  }

  async publish(files: readonly PublishedFile[], options?: AbortOptions): Promise<void> {
    for (const { name } of files) await asked(name, options)
    const published = files.map(({ tempPath, name }) => {
      const bytes = this.#temporary.get(tempPath)
      if (bytes !== undefined) return { name, bytes }
      throw new MoverError('BACKEND_FAILED', `cannot publish object ${name}: ${tempPath} is gone`)
    })
    const taken = published.find(({ name }) => this.#objects.has(name))
    for (const { name, bytes } of published) {
      if (!this.#objects.has(name)) this.#objects.set(name, bytes)
    }
    if (taken !== undefined) throw exists(taken.name)
    for (const { tempPath } of files) this.#temporary.delete(tempPath)
  }

  async settle(_prefix: 'index/', options?: AbortOptions): Promise<void> {
    await later(options)
  }

  async get(name: string, { maxBytes, ...options }: GetOptions): Promise<Uint8Array> {
    const bytes = await this.#find(name, options)
    if (bytes.length > maxBytes) {
      throw new MoverError(
        'BACKEND_FAILED',
        `object ${name} has ${bytes.length} bytes, over ${maxBytes}`,
      )
    }
    return Uint8Array.from(bytes)
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    options?: AbortOptions,
  ): Promise<Uint8Array> {
    const bytes = await this.#find(name, options)
    if (bytes.length < offset + length) {
      throw new MoverError('BACKEND_FAILED', `object ${name} ends at byte ${bytes.length}`)
    }
    return bytes.slice(offset, offset + length)
  }

  async getMany(
    names: readonly string[],
    options: GetOptions,
  ): Promise<(Uint8Array | MoverError)[]> {
    return Promise.all(names.map(name => outcomeOf(this.get(name, options))))
  }

  async has(name: string, options?: AbortOptions): Promise<boolean> {
    await asked(name, options)
    return this.#objects.has(name)
  }

  async size(name: string, options?: AbortOptions): Promise<number> {
    return (await this.#find(name, options)).length
  }

  async *list(prefix: ObjectPrefix, options?: AbortOptions): AsyncGenerator<ListedObject> {
    checkObjectPrefix(prefix)
    await later(options)
    const names = [...this.#objects.keys()].filter(name => name.startsWith(prefix)).sort()
    for (const name of names) {
      const bytes = this.#objects.get(name)
      if (bytes !== undefined) yield { name, bytes: bytes.length }
    }
  }

  async *listNames(prefix: ObjectPrefix, options?: AbortOptions): AsyncGenerator<string> {
    for await (const { name } of this.list(prefix, options)) yield name
  }

  async remove(name: string, options?: AbortOptions): Promise<void> {
    await asked(name, options)
    this.#objects.delete(name)
  }

  async #find(name: string, options?: AbortOptions): Promise<Uint8Array> {
    await asked(name, options)
    const bytes = this.#objects.get(name)
    if (bytes !== undefined) return bytes
    throw new MoverError('OBJECT_NOT_FOUND', `cannot read object ${name}: there is none`)
  }
}

async function asked(name: string, options?: AbortOptions): Promise<void> {
  checkObjectName(name)
  await later(options)
}

/** A backend never answers at once. */
async function later(options?: AbortOptions): Promise<void> {
  throwIfAborted(options)
  await Promise.resolve()
}

function exists(name: string): MoverError {
  return new MoverError('OBJECT_EXISTS', `cannot write object ${name}: there is one already`)
}
