import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import type { StatedExtent } from '../core/extent.js'
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
    allocated: options => fileExtents(handle, before.bytes, options),
    checkUnchanged: () => {
      checkSameFile(name, before)
    },
    async [Symbol.asyncDispose]() {
      loadAddon().closeDevice(handle)
    },
  }
}

async function* fileExtents(
  handle: number,
  volumeBytes: number,
  options?: AbortOptions,
): AsyncGenerator<StatedExtent> {
  let position = 0
  while (position < volumeBytes) {
    throwIfAborted(options)
    const pairs = await native(
      addon => addon.dataExtents(handle, position, EXTENTS_PER_CALL),
      'read',
    )
    if (pairs.length === 0) break
    for (let pair = 0; pair < pairs.length; pair += 2) {
      const offset = pairs[pair] ?? 0
      const end = Math.min(offset + (pairs[pair + 1] ?? 0), volumeBytes)
      if (offset > position) yield { offset: position, length: offset - position, state: 'zero' }
      if (end > offset) yield { offset, length: end - offset, state: 'data' }
      position = Math.max(position, end)
    }
  }
  if (position < volumeBytes) {
    yield { offset: position, length: volumeBytes - position, state: 'zero' }
  }
}
