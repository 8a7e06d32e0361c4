import { packName } from '../backend/object-name.js'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { Geometry } from '../core/chunk.js'
import { MoverError } from '../core/errors.js'
import { loadAddon, native, type SegmentFile } from '../native/addon.js'
import { encodeProgress } from '../native/encode-progress.js'
import type { ChunkStore } from './chunk-store.js'
import { mergeSegments } from './merge-segments.js'
import { publishSegments } from './publish-segments.js'

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

  /** Packs, and bytes of all objects, that this writer made; a merge of segments makes one too. */
  get added(): { readonly packs: number; readonly bytes: number } {
    return { packs: this.#packs, bytes: this.#bytes }
  }

  /** Stores those of pages, one behind the other, that are not known yet; returns the digests of all. */
  async putPages(pages: {
    readonly bytes: Uint8Array
    readonly lengths: Uint32Array
  }): Promise<Uint8Array> {
    return native(addon => addon.storePages(this.job, pages.bytes, pages.lengths), 'store')
  }

  /** Publishes when enough has come together since the last time; to be called now and then. */
  async publishSometimes(options?: AbortOptions): Promise<void> {
    const { packBytes } = encodeProgress(this.job)
    const isDue =
      packBytes - this.#publishedBytes >= PUBLISH_BYTES ||
      (packBytes > this.#publishedBytes && performance.now() - this.#publishedAtMs >= PUBLISH_MS)
    if (isDue) await this.#publish(options)
  }

  /** Seals every open pack: all of them become durable, under names that only this job knows. */
  async seal(options?: AbortOptions): Promise<void> {
    throwIfAborted(options)
    await native(addon => addon.flushJob(this.job), 'store')
  }

  /** Seals and publishes everything: after it, what was stored may be named. */
  async flush(options?: AbortOptions): Promise<void> {
    await this.seal(options)
    await this.#publish(options)
    // A segment of another session can be seen, and chunks found in it, before its name lasts.
    await this.#store.backend.settle('index/', options)
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
    this.#bytes += await publishSegments(this.#store, segments, options)
    await this.#adopt(segments, options)
    this.#packs += sealed.length
    this.#bytes += sealed.reduce((sum, { bytes }) => sum + bytes, 0)
    const tempPrefix = this.#tempPrefix
    this.#bytes += await mergeSegments(this.#store, { tempPrefix, ...options })
  }

  /**
   * Looks into segments just published. Where another process has merged one away already, its
   * entries are in a newer one; the job keeps their digests too, which costs memory only.
   */
  async #adopt(segments: readonly SegmentFile[], options?: AbortOptions): Promise<void> {
    const paths = this.#store.pathsOf(segments)
    try {
      await native(addon => addon.adoptSegments(this.job, paths), 'store')
    } catch (error) {
      if (!(error instanceof MoverError) || error.code !== 'OBJECT_NOT_FOUND') throw error
      await this.#store.refresh(options)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
    await native(addon => addon.closeJob(this.job), 'store')
  }
}
