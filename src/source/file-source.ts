import { BatchedExtents } from '../cbt/batched-extents.js'
import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { extentEnd, type Extent, type StatedExtent } from '../core/extent.js'
import { loadAddon, native, type DeviceInfo } from '../native/addon.js'
import { checkSameFile } from './same-file.js'
import type { Source } from './source.js'

/** Extents asked for in one native call: a call costs about as much as a few hundred of them. */
const EXTENTS_PER_CALL = 4096

/** A regular file, synced when it is opened, whose holes are found with SEEK_DATA and SEEK_HOLE. */
export async function openFileSource(name: string, opened: DeviceInfo): Promise<Source> {
  const { handle } = opened
  // Unsynced data may still show as a hole (OpenZFS 15526), and the sync itself moves no times,
  // but a writer that was in the middle of something does: so the file is looked at after it.
  await native(addon => addon.syncDevice(handle), 'open')
  const before = native(addon => addon.deviceInfo(handle), 'open')
  return {
    kind: 'file',
    name,
    volumeBytes: before.bytes,
    handle,
    identity: `file ${before.device} ${before.inode}`,
    allocated: (within, options) => new BatchedExtents(() => fileHoles(handle, within, options)),
    checkUnchanged: () => {
      checkSameFile(name, before)
    },
    async [Symbol.asyncDispose]() {
      loadAddon().closeDevice(handle)
    },
  }
}

async function* fileHoles(
  handle: number,
  within: Iterable<Extent>,
  options?: AbortOptions,
): AsyncGenerator<readonly StatedExtent[]> {
  for (let asked of batchesOf(within)) {
    while (asked.length > 0) {
      throwIfAborted(options)
      const runs = pairsOf(asked)
      const pairs = await native(addon => addon.holes(handle, runs, EXTENTS_PER_CALL), 'read')
      const holes: StatedExtent[] = []
      for (let pair = 0; pair < pairs.length; pair += 2) {
        holes.push({ offset: pairs[pair] ?? 0, length: pairs[pair + 1] ?? 0, state: 'zero' })
      }
      yield holes
      const last = holes.length < EXTENTS_PER_CALL ? undefined : holes.at(-1)
      asked = last === undefined ? [] : restBehind(extentEnd(last), asked)
    }
  }
}

function pairsOf(extents: readonly Extent[]): Float64Array {
  const pairs = new Float64Array(extents.length * 2)
  extents.forEach(({ offset, length }, index) => {
    pairs[index * 2] = offset
    pairs[index * 2 + 1] = length
  })
  return pairs
}

/** What of the extents lies behind `offset`. */
function restBehind(offset: number, extents: readonly Extent[]): Extent[] {
  return extents
    .filter(extent => extentEnd(extent) > offset)
    .map(extent => {
      const start = Math.max(extent.offset, offset)
      return { offset: start, length: extentEnd(extent) - start }
    })
}

function* batchesOf(extents: Iterable<Extent>): Generator<Extent[]> {
  let batch: Extent[] = []
  for (const extent of extents) {
    batch.push(extent)
    if (batch.length < EXTENTS_PER_CALL) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
