import type { AbortOptions } from '../core/abort.js'
import { isDamage, isLostByMedium } from '../core/damage-error.js'
import { DIGEST_BYTES, digestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { CHUNK_BYTES_MAX } from '../core/limits.js'
import { CODECS, ENTRY_TYPES } from '../core/pack.js'
import { native } from '../native/addon.js'
import { placeAt, placesIn, type EntryPlace, type IndexedPacks } from './entry-place.js'

/** Pages that lie no further apart than this are fetched in one read. */
const GAP_BYTES_MAX = 64 * 1024
const READ_BYTES_MAX = 4 * 1024 * 1024
const READS_IN_FLIGHT = 8

/**
 * Reads tree pages, in the order asked for, and compares each with its digest; where one copy of a page
 * is lost or damaged, another is taken, and where all of them are, the answer is null. Throws CHUNK_MISSING for a page that the index does not know, and what
 * a pack's loss is known by.
 */
export async function readPages(
  packs: IndexedPacks,
  digests: readonly Uint8Array[],
  options?: AbortOptions,
): Promise<(Uint8Array | null)[]> {
  if (digests.length === 0) return []
  const rows = await native(
    addon => addon.locateEntries(packs.index, ENTRY_TYPES.page, Buffer.concat(digests)),
    'read',
  )
  const reads = coalesce(digests.map((digest, position) => pagePlace(rows, position, digest)))
  const pages = new Array<Uint8Array | null>(digests.length).fill(null)
  const workers = Array.from({ length: Math.min(READS_IN_FLIGHT, reads.length) }, async () => {
    for (let read = reads.pop(); read !== undefined; read = reads.pop()) {
      for (const { position, page } of await readTogether(packs, read, options)) {
        pages[position] = page
      }
    }
  })
  await Promise.all(workers)
  return pages
}

interface PagePlace extends EntryPlace {
  /** Among the pages asked for. */
  readonly position: number
  readonly digest: Uint8Array
}

interface PageRead {
  readonly pack: string
  readonly offset: number
  length: number
  readonly places: PagePlace[]
}

/** One range of a pack, cut into its pages; those that it does not give are looked for elsewhere. */
async function readTogether(
  packs: IndexedPacks,
  { pack, offset, length, places }: PageRead,
  options?: AbortOptions,
): Promise<{ readonly position: number; readonly page: Uint8Array | null }[]> {
  const range = await orDamage(packs.backend.getRange(pack, offset, length, options))
  const isLost = range instanceof MoverError
  const cuts = places.map(place => [place.offset - offset, place.stored] as const)
  const digests = isLost ? null : pageDigests(range, cuts)
  const pages: { readonly position: number; readonly page: Uint8Array | null }[] = []
  for (const [at, { position, digest }] of places.entries()) {
    const [from, stored] = cuts[at] ?? [0, 0]
    const isGood = !isLost && digests !== null && isDigestAt(digests, at, digest)
    const page = isGood
      ? range.subarray(from, from + stored)
      : await copyOf(packs, digest, { lost: isLost ? range : null, ...options })
    pages.push({ position, page })
  }
  return pages
}

/** The first good one among all copies of a page; where all are damaged null, and where none is there `lost`. */
async function copyOf(
  { backend, index }: IndexedPacks,
  digest: Uint8Array,
  { lost, ...options }: AbortOptions & { readonly lost: MoverError | null },
): Promise<Uint8Array | null> {
  const rows = await native(addon => addon.locateCopies(index, ENTRY_TYPES.page, digest), 'read')
  for (const { pack, offset, stored } of placesIn(rows).filter(isPagePlace)) {
    const page = await orDamage(backend.getRange(pack, offset, stored, options))
    if (page instanceof MoverError) continue
    if (isDigestAt(pageDigests(page, [[0, page.length]]), 0, digest)) return page
  }
  if (lost !== null) throw lost
  return null
}

/** The digests, one behind the other, of pages by offset and length in `bytes`. */
function pageDigests(bytes: Uint8Array, pages: readonly (readonly [number, number])[]): Buffer {
  return native(addon => addon.pageDigests(bytes, Uint32Array.from(pages.flat())), 'read')
}

function isDigestAt(digests: Buffer, position: number, digest: Uint8Array): boolean {
  const from = position * DIGEST_BYTES
  return digests.compare(digest, 0, DIGEST_BYTES, from, from + DIGEST_BYTES) === 0
}

/** What was read, or the error that proves that it is lost; any other error is thrown. */
async function orDamage(reading: Promise<Uint8Array>): Promise<Uint8Array | MoverError> {
  try {
    return await reading
  } catch (error) {
    if (isDamage(error) || isLostByMedium(error)) return error
    throw error
  }
}

function pagePlace(rows: Uint8Array, position: number, digest: Uint8Array): PagePlace {
  const place = placeAt(rows, position)
  if (place === null) {
    throw new MoverError('CHUNK_MISSING', `tree page ${digestHex(digest)} is in no index segment`, {
      stage: 'read',
      remedy: 'make the index anew from the packs: mover rebuild-index; then mover verify',
      details: { page: digestHex(digest) },
    })
  }
  // A row that no page has is read as nothing, which is no page: then its other copies are asked.
  const stored = isPagePlace(place) ? place.stored : 0
  return { ...place, stored, position, digest }
}

function isPagePlace({ codec, stored }: EntryPlace): boolean {
  return codec === CODECS.none && stored <= CHUNK_BYTES_MAX
}

function coalesce(places: readonly PagePlace[]): PageRead[] {
  const sorted = places.toSorted((a, b) =>
    a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1,
  )
  const reads: PageRead[] = []
  for (const place of sorted) {
    const last = reads.at(-1)
    const end = place.offset + place.stored
    if (
      last !== undefined &&
      last.pack === place.pack &&
      place.offset - (last.offset + last.length) <= GAP_BYTES_MAX &&
      end - last.offset <= READ_BYTES_MAX
    ) {
      last.length = Math.max(last.length, end - last.offset)
      last.places.push(place)
    } else {
      const { pack, offset, stored } = place
      reads.push({ pack, offset, length: stored, places: [place] })
    }
  }
  return reads
}
