import { join } from 'node:path'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { digestHex, DIGEST_BYTES } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { CHUNK_BYTES_MAX } from '../core/limits.js'
import type { Backend } from '../backend/backend.js'
import { packName } from '../backend/object-name.js'
import { loadAddon, native, type SegmentInfo } from '../native/addon.js'
import { LOCATED_ROW_BYTES } from '../native/batch.js'

/** Type of an entry, part of its key in the index: a guest's chunk never passes for a tree page. */
export const PAGE_ENTRY = 1

/** Pages that lie no further apart than this are fetched in one read. */
const GAP_BYTES_MAX = 64 * 1024
const READ_BYTES_MAX = 4 * 1024 * 1024
const READS_IN_FLIGHT = 8

/** How often a listing that was overtaken by a merge of segments is made anew. */
const LISTINGS_MAX = 4

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

  constructor(backend: Backend, repositoryId: string) {
    // Other backends will bring packs to the native core as buffers; until then there is one kind.
    invariant(backend.localRoot !== null, 'packs are read from a folder')
    this.backend = backend
    this.root = backend.localRoot
    this.index = native(addon => addon.openIndex(Buffer.from(repositoryId, 'hex')), 'open')
  }

  get packsRoot(): string {
    return join(this.root, 'packs')
  }

  /**
   * Takes up the segments that were published since, by whomever. Returns the damaged ones, which
   * are left out; for whoever may not go on without them, `refresh` throws.
   */
  async refreshTolerant(options?: AbortOptions): Promise<MoverError[]> {
    for (let listing = 1; ; listing += 1) {
      throwIfAborted(options)
      // Before the listing: what another job of this process publishes meanwhile is not "gone".
      const held = new Set(this.#held().map(({ id }) => id))
      const published = new Map<string, string>()
      for await (const { name } of this.backend.list('index/', options)) {
        published.set(name.slice('index/'.length), join(this.root, name))
      }
      const { damaged, missing } = await this.#addAll(published, held)
      // Merged away between the listing and the opening: its entries are in a newer segment.
      if (missing !== null && listing < LISTINGS_MAX) continue
      if (missing !== null) throw missing
      this.#drop([...held].filter(id => !published.has(id)))
      // The segments that replace others do so together: while one is damaged, the others stay.
      if (damaged.length === 0) this.#drop(this.#held().flatMap(({ replaces }) => replaces))
      return damaged
    }
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

  /**
   * Reads tree pages, in the order asked for. Their bytes are the caller's to check against the
   * digests. Throws CHUNK_MISSING for a page that the index does not know.
   */
  async readPages(digests: readonly Uint8Array[], options?: AbortOptions): Promise<Uint8Array[]> {
    if (digests.length === 0) return []
    const located = await native(
      addon => addon.locateEntries(this.index, PAGE_ENTRY, Buffer.concat(digests)),
      'read',
    )
    const entries = digests.map((digest, position) => pageEntry(located, position, digest))
    const pages = new Array<Uint8Array>(digests.length)
    const reads = coalesce(entries)
    const workers = Array.from({ length: Math.min(READS_IN_FLIGHT, reads.length) }, async () => {
      for (let read = reads.pop(); read !== undefined; read = reads.pop()) {
        const bytes = await this.backend.getRange(read.pack, read.offset, read.length, options)
        for (const { position, offset, stored } of read.entries) {
          const from = offset - read.offset
          pages[position] = bytes.subarray(from, from + stored)
        }
      }
    })
    await Promise.all(workers)
    return pages
  }

  async [Symbol.asyncDispose](): Promise<void> {
    loadAddon().closeIndex(this.index)
  }
}

interface PageEntry {
  readonly position: number
  readonly pack: string
  readonly offset: number
  readonly stored: number
}

interface PageRead {
  readonly pack: string
  readonly offset: number
  length: number
  readonly entries: PageEntry[]
}

function pageEntry(located: Uint8Array, position: number, digest: Uint8Array): PageEntry {
  const row = located.subarray(position * LOCATED_ROW_BYTES, (position + 1) * LOCATED_ROW_BYTES)
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
  if (view.getUint8(0) === 0) {
    throw new MoverError('CHUNK_MISSING', `tree page ${digestHex(digest)} is in no index segment`, {
      stage: 'read',
      remedy: 'make the index anew from the packs: mover rebuild-index; then mover verify',
      details: { page: digestHex(digest) },
    })
  }
  const stored = view.getUint32(8, true)
  if (view.getUint8(1) !== 0 || stored > CHUNK_BYTES_MAX) {
    throw new MoverError(
      'PAGE_CORRUPT',
      `tree page ${digestHex(digest)} is indexed as no page is stored`,
    )
  }
  const pack = digestHex(row.subarray(24, 24 + DIGEST_BYTES))
  return { position, pack: packName(pack), offset: view.getUint32(4, true), stored }
}

function coalesce(entries: readonly PageEntry[]): PageRead[] {
  const sorted = entries.toSorted((a, b) =>
    a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1,
  )
  const reads: PageRead[] = []
  for (const entry of sorted) {
    const last = reads.at(-1)
    const end = entry.offset + entry.stored
    if (
      last !== undefined &&
      last.pack === entry.pack &&
      entry.offset - (last.offset + last.length) <= GAP_BYTES_MAX &&
      end - last.offset <= READ_BYTES_MAX
    ) {
      last.length = Math.max(last.length, end - last.offset)
      last.entries.push(entry)
    } else {
      reads.push({ pack: entry.pack, offset: entry.offset, length: entry.stored, entries: [entry] })
    }
  }
  return reads
}
