import { slotCount } from '../../src/core/chunk.js'
import type { Geometry } from '../../src/core/chunk.js'
import { digestHex } from '../../src/core/digest.js'
import { MoverError } from '../../src/core/errors.js'
import type { PagesTogether } from '../../src/manifest/page-batch.js'
import { PAGE_BYTES_MAX, writePage, type Page } from '../../src/manifest/page-codec.js'
import type { ReadPages } from '../../src/manifest/tree-pages.js'
import { TreeReader } from '../../src/manifest/tree-reader.js'
import { treeRoot } from '../../src/manifest/tree-shape.js'
import { TreeWriter } from '../../src/manifest/tree-writer.js'
import type { FinishedTree, PageStore } from '../../src/manifest/tree-writer.js'
import { pageDigest } from '../../src/native/blake3.js'
import { ROW_BYTES, dataRow } from '../../src/native/slot-rows.js'

/** Chunks of 16 KiB; the volume ends with its last slot, or `shortBy` bytes before. */
export function geometryOf(slots: number, shortBy = 0): Geometry {
  const chunkBytes = 16_384
  return { volumeBytes: slots * chunkBytes - shortBy, chunkBytes }
}

/** What a slot holds: 0 is zero, any other number a chunk of that number. */
export type Content = number

/** Rows of 33 bytes for some slots. */
export function rowsFor(contents: readonly Content[]): Uint8Array {
  return Buffer.concat(contents.map(rowFor))
}

/** The row of a slot; its state tells "known" from "stored", as the native core does. */
export function rowFor(content: Content): Uint8Array {
  if (content === 0) return new Uint8Array(ROW_BYTES)
  const digest = Buffer.alloc(32, 0xd1)
  digest.writeUInt32LE(content)
  const row = dataRow(digest)
  row[0] = 1 + (content % 2)
  return row
}

/** One page by itself. */
export function encodePage(page: Page): Uint8Array {
  const bytes = new Uint8Array(PAGE_BYTES_MAX)
  return bytes.subarray(0, writePage(page, bytes, 0))
}

/** The contents that rows stand for. */
export function contentsOf(rows: Uint8Array): Content[] {
  const contents: Content[] = []
  for (let at = 0; at < rows.length; at += ROW_BYTES) {
    contents.push(rows[at] === 0 ? 0 : Buffer.from(rows).readUInt32LE(at + 1))
  }
  return contents
}

/** Pages in memory, which counts what is asked of it. */
export class MemoryPages implements PageStore {
  readonly pages = new Map<string, Uint8Array>()
  put = 0
  putBytes = 0
  reads = 0
  read = 0

  async putPages({ bytes, lengths }: PagesTogether): Promise<Uint8Array> {
    const digests: Uint8Array[] = []
    let from = 0
    for (const length of lengths) {
      digests.push(this.add(bytes.slice(from, from + length)))
      from += length
    }
    return Buffer.concat(digests)
  }

  /** Adds one page; returns its digest. */
  add(page: Uint8Array): Uint8Array {
    this.put += 1
    this.putBytes += page.length
    const digest = pageDigest(page)
    this.pages.set(digestHex(digest), page)
    return digest
  }

  readPages: ReadPages = async digests => {
    this.reads += 1
    return digests.map(digest => {
      this.read += 1
      const page = this.pages.get(digestHex(digest))
      if (page === undefined) throw new MoverError('CHUNK_MISSING', `no page ${digestHex(digest)}`)
      return Buffer.compare(pageDigest(page), digest) === 0 ? page : null
    })
  }

  /** Forgets what was counted. */
  recount(): void {
    this.put = this.putBytes = this.reads = this.read = 0
  }
}

/** A tree with this content, put slot by slot. */
export async function growTree(
  geometry: Geometry,
  { contents, store }: { readonly contents: readonly Content[]; readonly store: PageStore },
): Promise<FinishedTree> {
  const writer = new TreeWriter({ geometry, store, parent: null })
  await writer.putSlots(0, contents.length, rowsFor(contents))
  return writer.finish()
}

/** A reader of a tree whose pages are in memory. */
export function readerOf(geometry: Geometry, tree: FinishedTree, store: MemoryPages): TreeReader {
  return new TreeReader({ geometry, tree, readPages: store.readPages })
}

/** The tree of the format's description, made level by level from all slots at once. */
export function naiveTree(geometry: Geometry, contents: readonly Content[]): FinishedTree {
  let rows = contents.map(content => (content === 0 ? new Uint8Array(ROW_BYTES) : plain(content)))
  let height = 0
  while (rows.length > 1 || (height === 0 && slotCount(geometry) > 0)) {
    rows = pagesOf(rows, height)
    height += 1
  }
  const top = rows[0] === undefined || rows[0][0] === 0 ? null : digestHex(rows[0].subarray(1))
  const state = top === null ? ('zero' as const) : ('page' as const)
  const tree = { height, state, top }
  return { ...tree, root: treeRoot(geometry, tree) }
}

function pagesOf(rows: readonly Uint8Array[], level: number): Uint8Array[] {
  const parents: Uint8Array[] = []
  for (let first = 0; first < rows.length; first += 128) {
    const children = rows.slice(first, first + 128)
    const isZero = children.every(row => row[0] === 0)
    const page = (): Uint8Array => encodePage({ level, rows: Buffer.concat(children) })
    parents.push(isZero ? new Uint8Array(ROW_BYTES) : dataRow(pageDigest(page())))
  }
  return parents
}

function plain(content: Content): Uint8Array {
  return dataRow(rowFor(content).subarray(1))
}
