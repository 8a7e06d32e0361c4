import { join } from 'node:path'
import { packName, segmentName } from '../backend/object-name.js'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Geometry } from '../core/chunk.js'
import { DIGEST_BYTES } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { loadAddon, native, type SegmentFile } from '../native/addon.js'
import { encodeProgress } from '../native/encode-progress.js'
import { planSegmentMerge } from '../plan/segment-merge-plan.js'
import type { ChunkStore } from './chunk-store.js'

export interface ChunkWriterOptions extends AbortOptions {
  readonly store: ChunkStore
  readonly repositoryId: string
  /** Prefix of this session's temporary files. */
  readonly tempPrefix: string
  /** Native handle of the source. */
  readonly source: number
  readonly geometry: Geometry
  readonly codec: 'none' | 'lz4' | 'zstd'
  readonly level: number
  readonly packBytes: number
  readonly bytesInFlight: number
  /** 0 sets no limit. */
  readonly bytesPerSecond: number
}

/** New bytes after which packs and their index segment are published: a killed backup loses no more than this. */
const PUBLISH_BYTES = 4 * 1024 ** 3
const PUBLISH_MS = 120_000
const READERS = 2
const WRITERS = 2

const CODEC_NUMBERS = { none: 0, lz4: 1, zstd: 2 } as const

/**
 * The write path of one job: packs that native threads have made durable as temporary files are
 * linked under their names, then the segment that finds their chunks. Only then may anything
 * name them.
 */
export class ChunkWriter implements AsyncDisposable {
  /** The native job, good in every thread of the process. */
  readonly job: number
  readonly #store: ChunkStore
  readonly #tempPrefix: string
  #publishedAtMs = performance.now()
  #publishedBytes = 0
  #packs = 0
  #bytes = 0

  constructor(options: ChunkWriterOptions) {
    const { store, geometry } = options
    this.#store = store
    this.#tempPrefix = options.tempPrefix
    this.job = native(
      addon =>
        addon.openEncodeJob({
          source: options.source,
          index: store.index,
          chunkBytes: geometry.chunkBytes,
          volumeBytes: geometry.volumeBytes,
          codec: CODEC_NUMBERS[options.codec],
          level: options.level,
          packBytes: options.packBytes,
          packsRoot: store.packsRoot,
          tempPrefix: options.tempPrefix,
          repositoryId: Buffer.from(options.repositoryId, 'hex'),
          readers: READERS,
          writers: WRITERS,
          bytesInFlightMax: options.bytesInFlight,
          bytesPerSecond: options.bytesPerSecond,
        }),
      'open',
    )
  }

  /** Every native call of this job ends soon, with CANCELLED. */
  cancel(): void {
    loadAddon().cancelJob(this.job)
  }

  /** Packs and bytes that the repository grew by through this writer. */
  get added(): { readonly packs: number; readonly bytes: number } {
    return { packs: this.#packs, bytes: this.#bytes }
  }

  /** Stores the tree pages that are not known yet; returns their digests. */
  async putPages(pages: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const lengths = Uint32Array.from(pages, page => page.length)
    const digests = await native(
      addon => addon.storePages(this.job, Buffer.concat(pages), lengths),
      'store',
    )
    return pages.map((_, page) => digests.subarray(page * DIGEST_BYTES, (page + 1) * DIGEST_BYTES))
  }

  /** Publishes when enough has come together since the last time; to be called now and then. */
  async publishSometimes(options?: AbortOptions): Promise<void> {
    const { packBytes } = encodeProgress(this.job)
    const isDue =
      packBytes - this.#publishedBytes >= PUBLISH_BYTES ||
      (packBytes > this.#publishedBytes && performance.now() - this.#publishedAtMs >= PUBLISH_MS)
    if (isDue) await this.#publish(options)
  }

  /** Seals every open pack and publishes all: after it, what was stored may be named. */
  async flush(options?: AbortOptions): Promise<void> {
    throwIfAborted(options)
    await native(addon => addon.flushJob(this.job), 'store')
    await this.#publish(options)
  }

  async #publish(options?: AbortOptions): Promise<void> {
    const sealed = native(addon => addon.takeSealed(this.job), 'store')
    this.#publishedBytes = encodeProgress(this.job).packBytes
    this.#publishedAtMs = performance.now()
    if (sealed.length === 0) return
    await this.#store.backend.publish(
      sealed.map(({ tempPath, id }) => ({ tempPath, name: packName(id) })),
      options,
    )
    const ids = sealed.map(({ id }) => id)
    const segments = await native(addon => addon.writeSegments(this.job, ids), 'store')
    const paths = await this.#publishSegments(segments, options)
    await native(addon => addon.adoptSegments(this.job, paths), 'store')
    this.#packs += sealed.length
    this.#bytes += sealed.reduce((sum, { bytes }) => sum + bytes, 0)
    await this.#mergeSegments(options)
  }

  /**
   * Merges segments as they multiply. The merged one is durable before those that it replaces are
   * removed; whoever has these open keeps them, whoever does not lists again.
   */
  async #mergeSegments(options?: AbortOptions): Promise<void> {
    const held = native(addon => addon.listSegments(this.#store.index), 'store')
    const ids = planSegmentMerge(held)
    if (ids.length === 0) return
    const merged = await native(
      addon => addon.mergeSegments(this.#store.index, [...ids], `${this.#tempPrefix}merge.`),
      'store',
    )
    const paths = await this.#publishSegments(merged, options)
    await native(addon => addon.addSegments(this.#store.index, paths), 'store')
    loadAddon().dropSegments(this.#store.index, [...ids])
    for (const segment of held) {
      if (!ids.includes(segment.id)) continue
      await this.#store.backend.remove(segmentName(segment.id), options)
      this.#bytes -= segment.bytes
    }
  }

  async #publishSegments(
    segments: readonly SegmentFile[],
    options?: AbortOptions,
  ): Promise<string[]> {
    const { backend, root } = this.#store
    for (const { id, tempPath, bytes } of segments) {
      try {
        await backend.publish([{ tempPath, name: segmentName(id) }], options)
        this.#bytes += bytes
      } catch (error) {
        // Another session merged the same segments: a segment's name is its bytes' digest.
        if (!(error instanceof MoverError) || error.code !== 'OBJECT_EXISTS') throw error
      }
    }
    return segments.map(({ id }) => join(root, segmentName(id)))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
    await native(addon => addon.closeJob(this.job), 'store')
  }
}
