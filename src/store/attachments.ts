/**
 * What is kept with a manifest besides its volume. An attachment is stored as a page is: found by the
 * index, checked by its digest, rebuilt from packs. A mark that no tree page begins with stands before
 * its bytes, so that neither ever passes for the other.
 */
import type { AbortOptions } from '../core/abort.js'
import { DIGEST_BYTES, digestHex, parseDigestHex } from '../core/digest.js'
import { MoverError } from '../core/errors.js'
import { ATTACHMENT_BYTES_MAX, ATTACHMENT_NAME_BYTES_MAX, ATTACHMENTS_MAX } from '../core/limits.js'
import type { Attachment } from '../core/manifest.js'
import type { ChunkWriter } from './chunk-writer.js'
import { readPages } from './page-reads.js'
import type { IndexedPacks } from './entry-place.js'

/** An attachment to be stored. */
export interface AttachedBytes {
  /** 1 to 128 bytes of UTF-8, as the type, which is a media type. */
  readonly name: string
  readonly type: string
  /** At most 2 MiB. */
  readonly content: Uint8Array
}

/** A page begins with its level, which is lower than any of these. */
const MARK = Buffer.from('MATT', 'latin1')

/** Bytes of the stored page that holds `bytes` of an attachment. */
export function attachmentPageBytes(bytes: number): number {
  return MARK.length + bytes
}

/** Why no manifest can carry these; null where one can. */
export function attachmentsProblem(attachments: readonly AttachedBytes[]): string | null {
  if (attachments.length > ATTACHMENTS_MAX)
    return `a manifest has at most ${ATTACHMENTS_MAX} attachments`
  const names = new Set(attachments.map(({ name }) => name))
  if (names.size < attachments.length) return 'two attachments have one name'
  const isLabel = (label: string) =>
    label !== '' &&
    !/\p{Surrogate}/u.test(label) &&
    Buffer.byteLength(label) <= ATTACHMENT_NAME_BYTES_MAX
  if (!attachments.every(({ name, type }) => isLabel(name) && isLabel(type))) {
    return `an attachment's name and type are 1 to ${ATTACHMENT_NAME_BYTES_MAX} bytes of UTF-8`
  }
  const tooLong = attachments.find(({ content }) => content.length > ATTACHMENT_BYTES_MAX)
  if (tooLong === undefined) return null
  return `attachment '${tooLong.name}' has ${tooLong.content.length} bytes, more than ${ATTACHMENT_BYTES_MAX}`
}

/** Stores attachments that are within `attachmentsProblem`'s bounds; durable when the writer is flushed. */
export async function putAttachments(
  writer: ChunkWriter,
  attachments: readonly AttachedBytes[],
): Promise<Attachment[]> {
  if (attachments.length === 0) return []
  const pages = attachments.map(({ content }) => Buffer.concat([MARK, content]))
  const digests = await writer.putPages({
    bytes: Buffer.concat(pages),
    lengths: Uint32Array.from(pages, ({ length }) => length),
  })
  return attachments.map(({ name, type, content }, position) => {
    const at = position * DIGEST_BYTES
    const digest = digestHex(digests.subarray(at, at + DIGEST_BYTES))
    return { name, type, digest, bytes: content.length }
  })
}

/** The bytes of an attachment, compared with their digest. Throws CHUNK_MISSING and PAGE_CORRUPT. */
export async function readAttachment(
  packs: IndexedPacks,
  { name, digest, bytes }: Attachment,
  options?: AbortOptions,
): Promise<Uint8Array> {
  const [page = null] = await readPages(packs, [parseDigestHex(digest)], options)
  const isWhole =
    page !== null &&
    page.length === attachmentPageBytes(bytes) &&
    MARK.equals(page.subarray(0, MARK.length))
  if (isWhole) return page.subarray(MARK.length)
  throw new MoverError('PAGE_CORRUPT', `attachment '${name}' is damaged`, {
    stage: 'read',
    remedy: 'mover verify names everything that is damaged',
    details: { page: digest },
  })
}
