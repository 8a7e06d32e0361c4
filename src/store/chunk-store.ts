import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Backend } from '../backend/backend.js'
import { objectId, segmentName } from '../backend/object-name.js'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { SEGMENT_BYTES_MAX } from '../core/limits.js'
import { loadAddon, native, type SegmentInfo } from '../native/addon.js'
import { readPages } from './page-reads.js'

/** How often a listing that was overtaken by others' publishing and merging is made anew. */
const LISTINGS_MAX = 10
const LISTING_PAUSE_MS = 2

/**
 * Chunks and pages by digest over a backend: the published index segments, mapped by the native
 * core and shared by every job of this repository handle. It never sees a volume's plain bytes.
 */
export class ChunkStore implements AsyncDisposable {
  readonly backend: Backend
  /** The native index, good in every thread of the process. */
  readonly index: number
  /** Root folder of the repository; packs are read below it. */
  readonly root: string
  /** Segments that are made from others, or from packs, get no longer than this. */
  readonly segmentBytesMax: number

  /** `segmentBytesMax` is for tests, which cannot wait for segments of full size. */
  constructor(backend: Backend, repositoryId: string, segmentBytesMax = SEGMENT_BYTES_MAX) {
    // Other backends will bring packs to the native core as buffers; until then there is one kind.
    invariant(backend.localRoot !== null, 'packs are read from a folder')
    this.backend = backend
    this.segmentBytesMax = segmentBytesMax
    this.root = backend.localRoot
    this.index = native(addon => addon.openIndex(Buffer.from(repositoryId, 'hex')), 'open')
  }

  get packsRoot(): string {
    return join(this.root, 'packs')
  }

  /**
   * Takes up the segments that were published since, by whomever. Returns the damaged ones, which
   * are left out; for whoever may not go on without them, `refresh` throws.
   *
   * A segment that is listed is used, also where another one says that it replaces it: whoever made
   * that one removes what it replaced, and until then an entry is only there twice.
   */
  async refreshTolerant(options?: AbortOptions): Promise<MoverError[]> {
    let before: ReadonlyMap<string, string> | null = null
    for (let listing = 1; ; listing += 1) {
      throwIfAborted(options)
      // Before the listing: what another job of this process publishes meanwhile is not "gone".
      const held = new Set(this.#held().map(({ id }) => id))
      const published = await this.#listed(options)
      const { damaged, missing } = await this.#addAll(published, held)
      // A segment that is merged away while a listing is made may be missing from it together with
      // the one that replaces it; the next listing has that one.
      const isSettled = missing === null && before !== null && haveSameKeys(before, published)
      if (isSettled) this.#drop([...held].filter(id => !published.has(id)))
      if (isSettled || (missing === null && listing === LISTINGS_MAX)) return damaged
      if (missing !== null && listing === LISTINGS_MAX) throw missing
      // A network file system may list for a second what another host has removed.
      if (missing !== null) await setTimeout(LISTING_PAUSE_MS * 2 ** listing)
      before = published
    }
  }

  /** Takes up segments just published; what another process has merged away, in what replaced it. */
  async takeUp(
    segments: readonly { readonly id: string }[],
    options?: AbortOptions,
  ): Promise<void> {
    const paths = this.pathsOf(segments)
    try {
      await native(addon => addon.addSegments(this.index, paths), 'open')
    } catch (error) {
      if (!(error instanceof MoverError) || error.code !== 'OBJECT_NOT_FOUND') throw error
      await this.refresh(options)
    }
  }

  /** Where published segments lie. */
  pathsOf(segments: readonly { readonly id: string }[]): string[] {
    return segments.map(({ id }) => join(this.root, segmentName(id)))
  }

  /** As `refreshTolerant`, but throws SEGMENT_CORRUPT: a lookup that failed is never a "no". */
  async refresh(options?: AbortOptions): Promise<void> {
    const [damage] = await this.refreshTolerant(options)
    if (damage !== undefined) {
      throw new MoverError('SEGMENT_CORRUPT', damage.message, {
        stage: 'open',
        remedy: 'make the index anew from the packs: mover rebuild-index',
        cause: damage,
      })
    }
  }

  async #listed(options?: AbortOptions): Promise<Map<string, string>> {
    const published = new Map<string, string>()
    for await (const { name } of this.backend.list('index/', options)) {
      published.set(objectId(name), join(this.root, name))
    }
    return published
  }

  async #addAll(
    published: ReadonlyMap<string, string>,
    held: ReadonlySet<string>,
  ): Promise<{ damaged: MoverError[]; missing: MoverError | null }> {
    const damaged: MoverError[] = []
    let missing: MoverError | null = null
    for (const [id, path] of published) {
      if (held.has(id)) continue
      try {
        await native(addon => addon.addSegments(this.index, [path]), 'open')
      } catch (error) {
        if (!(error instanceof MoverError)) throw error
        if (error.code === 'OBJECT_NOT_FOUND') missing = error
        else if (error.code === 'SEGMENT_CORRUPT') damaged.push(error)
        else throw error
      }
    }
    return { damaged, missing }
  }

  #held(): readonly SegmentInfo[] {
    return native(addon => addon.listSegments(this.index), 'open')
  }

  #drop(ids: readonly string[]): void {
    const held = new Set(this.#held().map(({ id }) => id))
    const gone = ids.filter(id => held.has(id))
    if (gone.length > 0) loadAddon().dropSegments(this.index, gone)
  }

  /** The bytes of tree pages, in the order asked for; see `readPages`. */
  async readPages(
    digests: readonly Uint8Array[],
    options?: AbortOptions,
  ): Promise<(Uint8Array | null)[]> {
    return readPages(this, digests, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    loadAddon().closeIndex(this.index)
  }
}

function haveSameKeys(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return a.size === b.size && [...a.keys()].every(key => b.has(key))
}
