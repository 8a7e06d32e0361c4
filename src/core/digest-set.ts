import { DIGEST_BYTES } from './digest.js'
import { invariant } from './invariant.js'

const PLACES_MIN = 1024

/**
 * A set of digests in one open-addressing table: 33 bytes a place, at most three quarters of them
 * taken. Digests are spread evenly by nature, so their first bytes are their hash.
 */
export class DigestSet {
  #size = 0
  #places = PLACES_MIN
  #digests = new Uint8Array(PLACES_MIN * DIGEST_BYTES)
  #taken = new Uint8Array(PLACES_MIN)

  /** Number of digests in the set. */
  get size(): number {
    return this.#size
  }

  has(digest: Uint8Array): boolean {
    return this.#taken[this.#placeOf(digest)] === 1
  }

  /** Adds a copy of `digest`; false when the set already has it. */
  add(digest: Uint8Array): boolean {
    if (this.has(digest)) return false
    if (this.#size >= this.#places * 0.75) this.#grow()
    this.#put(digest)
    this.#size += 1
    return true
  }

  #put(digest: Uint8Array): void {
    const place = this.#placeOf(digest)
    this.#digests.set(digest, place * DIGEST_BYTES)
    this.#taken[place] = 1
  }

  /** Where `digest` is, or the free place where it belongs. */
  #placeOf(digest: Uint8Array): number {
    invariant(digest.length === DIGEST_BYTES, 'a digest has 32 bytes')
    let place = firstWord(digest) & (this.#places - 1)
    while (this.#taken[place] === 1 && !this.#holds(place, digest)) {
      place = (place + 1) & (this.#places - 1)
    }
    return place
  }

  #holds(place: number, digest: Uint8Array): boolean {
    const start = place * DIGEST_BYTES
    for (let byte = 0; byte < DIGEST_BYTES; byte += 1) {
      if (this.#digests[start + byte] !== digest[byte]) return false
    }
    return true
  }

  #grow(): void {
    const [digests, taken, places] = [this.#digests, this.#taken, this.#places]
    this.#places = places * 2
    this.#digests = new Uint8Array(this.#places * DIGEST_BYTES)
    this.#taken = new Uint8Array(this.#places)
    for (let place = 0; place < places; place += 1) {
      if (taken[place] !== 1) continue
      this.#put(digests.subarray(place * DIGEST_BYTES, (place + 1) * DIGEST_BYTES))
    }
  }
}

function firstWord(digest: Uint8Array): number {
  const [a = 0, b = 0, c = 0, d = 0] = digest
  return a | (b << 8) | (c << 16) | (d << 24)
}
