import { objectId } from './backend/object-name.js'
import { throwIfAborted } from './core/abort.js'
import { slotExtent, slotRunBytes } from './core/chunk.js'
import { damageMessageOrThrow } from './core/damage-error.js'
import { DigestSet } from './core/digest-set.js'
import { digestHex, digestsEqual } from './core/digest.js'
import { MoverError } from './core/errors.js'
import { PACK_OBJECT_BYTES_MAX } from './core/limits.js'
import type { Manifest } from './core/manifest.js'
import { TreeReader, type PageDamage } from './manifest/tree-reader.js'
import { pageDigest } from './native/blake3.js'
import { isZeroRow, rowDigest } from './native/slot-rows.js'
import { decodeEntry, packDigest, packEntries } from './store/pack-file.js'
import { listPacks, meterOfPacks } from './verify-packs.js'
import { attachmentPageBytes } from './store/attachments.js'
import type { VerifiedParts, VerifyContext } from './verify.js'

/** Where a good page lies. */
interface PagePlace {
  readonly pack: string
  readonly offset: number
  readonly length: number
}

/** What the packs hold, as the second implementation sees it. */
interface GoodEntries {
  readonly chunks: DigestSet
  readonly pages: Map<string, PagePlace>
}

/**
 * Proves from packs and manifests alone, without index and native loop, that every slot can be
 * restored: decodes every entry of every pack in TypeScript, then looks for each digest that a
 * manifest names among those that held. Memory grows with the number of chunks: about 50 bytes each.
 */
export async function verifyIndependently(
  manifests: readonly Manifest[],
  context: VerifyContext,
): Promise<VerifiedParts> {
  const totals = { packs: 0, pages: 0, chunks: 0, bytes: 0 }
  const good: GoodEntries = { chunks: new DigestSet(), pages: new Map() }
  const packs = await listPacks(context)
  let bytesDone = 0
  using _meter = meterOfPacks(packs, () => bytesDone, context)
  for (const { name, bytes } of packs) {
    throwIfAborted({ signal: context.signal })
    const { chunks, plainBytes } = await checkPack(name, good, context)
    totals.packs += 1
    totals.chunks += chunks
    totals.bytes += plainBytes
    bytesDone += bytes
  }
  for (const manifest of manifests) {
    checkAttachments(manifest, good, context)
    await checkManifest(manifest, good, context)
  }
  return { ...totals, pages: good.pages.size }
}

/** Notes the entries of a pack that hold, and says how many chunks these are. */
async function checkPack(
  name: string,
  good: GoodEntries,
  { repository, report, signal }: VerifyContext,
): Promise<{ readonly chunks: number; readonly plainBytes: number }> {
  const id = objectId(name)
  const found = { chunks: 0, plainBytes: 0 }
  const reporting = async (check: () => Promise<void> | void): Promise<void> => {
    try {
      await check()
    } catch (error) {
      report.add('pack', id, damageMessageOrThrow(error))
    }
  }
  await reporting(async () => {
    const pack = await repository.backend.get(name, { maxBytes: PACK_OBJECT_BYTES_MAX, signal })
    const entries = packEntries(pack)
    if (digestHex(packDigest(pack, entries)) !== id) {
      report.add('pack', id, 'the bytes of the pack are not what its name says')
    }
    for (const entry of entries) {
      await reporting(() => {
        const { type, digest, offset } = entry
        const { length } = decodeEntry(pack, entry)
        note(good, type, { digest, pack: name, offset, length })
        if (type !== 'data') return
        found.chunks += 1
        found.plainBytes += length
      })
    }
  })
  return found
}

function note(
  good: GoodEntries,
  type: 'data' | 'page',
  { digest, ...place }: PagePlace & { readonly digest: Uint8Array },
): void {
  if (type === 'data') good.chunks.add(digest)
  else good.pages.set(digestHex(digest), place)
}

function checkAttachments(
  manifest: Manifest,
  { pages }: GoodEntries,
  { report }: VerifyContext,
): void {
  for (const { name, digest, bytes } of manifest.attachments) {
    if (pages.get(digest)?.length === attachmentPageBytes(bytes)) continue
    report.add('page', digest, `attachment '${name}' is in no pack`)
    report.concern('page', digest, manifest)
  }
}

async function checkManifest(
  manifest: Manifest,
  good: GoodEntries,
  context: VerifyContext,
): Promise<void> {
  const { repository, report, signal } = context
  const reader = new TreeReader({
    geometry: manifest,
    tree: manifest.tree,
    readPages: async digests => {
      const pages: (Uint8Array | null)[] = []
      for (const digest of digests) {
        const name = digestHex(digest)
        const place = good.pages.get(name)
        if (place === undefined) {
          throw new MoverError('CHUNK_MISSING', `tree page ${name} is in no pack`, {
            details: { page: name },
          })
        }
        const { pack, offset, length } = place
        const page = await repository.backend.getRange(pack, offset, length, { signal })
        pages.push(digestsEqual(pageDigest(page), digest) ? page : null)
      }
      return pages
    },
  })
  const onDamage = ({ digest, error, first, count }: PageDamage) => {
    report.add('page', digest, damageMessageOrThrow(error))
    const length = slotRunBytes(manifest, { first, count })
    report.hit('page', digest, {
      manifest: manifest.id,
      offset: first * manifest.chunkBytes,
      length,
    })
  }
  for await (const { first, count, rows } of reader.slots({ onDamage })) {
    for (let position = 0; rows !== null && position < count; position += 1) {
      if (isZeroRow(rows, position) || good.chunks.has(rowDigest(rows, position))) continue
      const name = digestHex(rowDigest(rows, position))
      report.add('chunk', name, 'no pack holds this chunk')
      report.hit('chunk', name, {
        manifest: manifest.id,
        ...slotExtent(manifest, first + position),
      })
    }
  }
}
