/** The shape of what a pack holds; its bytes are described in FORMAT.md. */

/** What an entry is: a chunk of a volume, or a page of a manifest's tree. The number is on disk. */
export const ENTRY_TYPES = { data: 0, page: 1 } as const
export type EntryType = keyof typeof ENTRY_TYPES

/** How stored bytes become plain bytes again. The number is on disk. */
export const CODECS = { none: 0, lz4: 1, zstd: 2 } as const
export type Codec = keyof typeof CODECS

const CODECS_BY_NUMBER: readonly Codec[] = ['none', 'lz4', 'zstd']

/** The codec whose number stands on disk, or null where there is none. */
export function codecOf(number: number): Codec | null {
  return CODECS_BY_NUMBER[number] ?? null
}

/** One chunk's or page's place in a pack. */
export interface PackEntry {
  readonly digest: Uint8Array
  readonly type: EntryType
  readonly codec: Codec
  /** Of the stored bytes in the pack, behind their frame head. */
  readonly offset: number
  readonly storedBytes: number
  readonly plainBytes: number
}
