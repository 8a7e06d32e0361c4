import { statfsSync } from 'node:fs'
import { listOf, type JsonRecord } from './block-state.js'
import type { QmpLine } from './qmp-line.js'

export interface ScratchWatch {
  readonly line: QmpLine
  /** Where the scratch files are. */
  readonly folder: string
  readonly rooms: readonly ScratchRoom[]
  /** Called once, with half a sentence. */
  readonly onShort: (why: string) => void
}

/** What one disk's scratch file may grow to. */
export interface ScratchRoom {
  readonly file: string
  readonly volumeBytes: number
  readonly reservedBytes: number
}

const LOOK_EVERY_MS = 200
const MiB = 1024 * 1024
/** What a guest may write between two looks. */
const MARGIN_BYTES_MAX = 256 * MiB

/**
 * Looks at scratch files that are reserved for less than their disk could need, and tells when one is
 * about to be full: used up to a quarter, or 256 MiB, and no free room besides. Null where all are
 * reserved whole.
 */
export function watchScratch({ line, folder, rooms, onShort }: ScratchWatch): Disposable | null {
  const watched = rooms.filter(({ volumeBytes, reservedBytes }) => reservedBytes < volumeBytes)
  if (watched.length === 0) return null
  let isOver = false
  let timer: NodeJS.Timeout | null = null
  const look = async () => {
    const used = await usedBytes(line)
    // At once: libuv's threads read the source, and a call that waits for one of them may wait for seconds.
    const { bavail, bsize } = statfsSync(folder)
    const isShort = watched.some(({ file, reservedBytes }) => {
      const marginBytes = Math.min(MARGIN_BYTES_MAX, reservedBytes / 4)
      const isNearlyFull = (used.get(file) ?? 0) > reservedBytes - marginBytes
      return isNearlyFull && bavail * bsize < marginBytes
    })
    if (!isShort || isOver) return
    isOver = true
    onShort('a scratch file is nearly full')
  }
  const lookLater = () => {
    if (isOver) return
    // A look that fails says nothing of the room; the backup itself finds out what is wrong.
    timer = setTimeout(
      () =>
        void look()
          .catch(() => {})
          .finally(lookLater),
      LOOK_EVERY_MS,
    )
  }
  lookLater()
  return {
    [Symbol.dispose]() {
      isOver = true
      if (timer !== null) clearTimeout(timer)
    },
  }
}

/** How far each node was written to; asked for in a way that looks into no image. */
async function usedBytes(line: QmpLine): Promise<ReadonlyMap<string, number>> {
  const qmp = await line.client()
  const nodes = listOf(await qmp.execute('query-blockstats', { 'query-nodes': true }))
  return new Map(
    nodes.map(node => {
      const { wr_highest_offset: highest } = (node['stats'] ?? {}) as JsonRecord
      return [String(node['node-name']), typeof highest === 'number' ? highest : 0]
    }),
  )
}
