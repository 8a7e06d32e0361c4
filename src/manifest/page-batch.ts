import { DIGEST_BYTES } from '../core/digest.js'
import { TREE_HEIGHT_MAX } from '../core/limits.js'
import { loadAddon } from '../native/addon.js'
import { PAGE_BYTES_MAX, writePage, type Page } from './page-codec.js'

/** Pages that lie one behind the other. */
export interface PagesTogether {
  readonly bytes: Uint8Array
  readonly lengths: Uint32Array
}

const FULL_AT = 256
/** Pages that are closed between two looks at whether it is full. */
const PAGES_MAX = FULL_AT + 4 * TREE_HEIGHT_MAX

/**
 * Finished pages on their way to the store. They are named many at a time: the digest of one is
 * needed only when the page above it is finished.
 */
export class PageBatch {
  readonly #bytes = new Uint8Array(PAGES_MAX * PAGE_BYTES_MAX)
  readonly #spans = new Uint32Array(PAGES_MAX * 2)
  readonly #digests = new Uint8Array(PAGES_MAX * DIGEST_BYTES)
  #places: Uint8Array[] = []
  #named = 0
  #count = 0
  #end = 0

  get isFull(): boolean {
    return this.#count >= FULL_AT
  }

  get isEmpty(): boolean {
    return this.#count === 0
  }

  /** Adds a page; its digest is written to `place` when pages are named. */
  add(page: Page, place: Uint8Array): void {
    const from = this.#end
    this.#end = writePage(page, this.#bytes, from)
    this.#spans[this.#count * 2] = from
    this.#spans[this.#count * 2 + 1] = this.#end - from
    this.#count += 1
    this.#places.push(place)
  }

  /** Gives the pages added since the last time their digests. */
  name(): void {
    if (this.#places.length === 0) return
    const spans = this.#spans.subarray(this.#named * 2, this.#count * 2)
    const digests = loadAddon().pageDigests(this.#bytes, spans)
    this.#digests.set(digests, this.#named * DIGEST_BYTES)
    this.#places.forEach((place, page) => {
      place.set(digests.subarray(page * DIGEST_BYTES, (page + 1) * DIGEST_BYTES))
    })
    this.#places = []
    this.#named = this.#count
  }

  /** Empties the batch. The pages are good until the next one is added, their digests for longer. */
  take(): PagesTogether & { readonly digests: Uint8Array } {
    this.name()
    const taken = {
      bytes: this.#bytes.subarray(0, this.#end),
      lengths: this.#spans.slice(0, this.#count * 2).filter((_, at) => at % 2 === 1),
      digests: this.#digests.slice(0, this.#count * DIGEST_BYTES),
    }
    this.#named = this.#count = this.#end = 0
    return taken
  }
}
