import type { AbortOptions } from '../core/abort.js'
import { isDamage } from '../core/damage-error.js'
import { ENTRY_TYPES } from '../core/pack.js'
import { native } from '../native/addon.js'
import { placeAt, placesIn, type EntryPlace, type IndexedPacks } from './entry-place.js'

/**
 * Those of some chunks that cannot be restored, as far as can be told without reading them: no copy
 * of them lies in a pack that is there in the size that was indexed.
 */
export async function lostChunks(
  { backend, index }: IndexedPacks,
  digests: readonly Uint8Array[],
  options?: AbortOptions,
): Promise<Uint8Array[]> {
  if (digests.length === 0) return []
  const sizes = new Map<string, Promise<number | null>>()
  const isThere = async ({ pack, packBytes }: EntryPlace): Promise<boolean> => {
    const size = sizes.get(pack) ?? sizeOrNull(backend.size(pack, options))
    sizes.set(pack, size)
    return (await size) === packBytes
  }
  const rows = await native(
    addon => addon.locateEntries(index, ENTRY_TYPES.data, Buffer.concat(digests)),
    'plan',
  )
  const lost: Uint8Array[] = []
  for (const [position, digest] of digests.entries()) {
    const place = placeAt(rows, position)
    if (place !== null && (await isThere(place))) continue
    const copies = await native(
      addon => addon.locateCopies(index, ENTRY_TYPES.data, digest),
      'plan',
    )
    const found = await Promise.all(placesIn(copies).map(isThere))
    if (!found.includes(true)) lost.push(digest)
  }
  return lost
}

async function sizeOrNull(looking: Promise<number>): Promise<number | null> {
  try {
    return await looking
  } catch (error) {
    // Gone, or no regular file.
    if (isDamage(error)) return null
    throw error
  }
}
