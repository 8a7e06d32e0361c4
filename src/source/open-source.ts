import type { AbortOptions } from '../core/abort.js'
import { isNbdUri } from '../core/nbd-uri.js'
import { isQcow2Name } from '../core/qcow2-name.js'
import { loadAddon, native } from '../native/addon.js'
import { openDeviceSource } from './device-source.js'
import { openFileSource } from './file-source.js'
import { openNbdSource } from './nbd-source.js'
import { openQcow2Source } from './qcow2-source.js'
import type { Source } from './source.js'

/**
 * Opens a regular file or a block device for reading, past the page cache where it can be, or a volume
 * on an NBD server by its URI, or the disk in an image, `qcow2:FILE`. Throws SOURCE_UNUSABLE for anything else and for what may not be read,
 * and ARGUMENT_INVALID for a URI that means nothing. The signal ends what waits for a server.
 */
export async function openSource(path: string, options?: AbortOptions): Promise<Source> {
  if (isNbdUri(path)) return openNbdSource(path, options)
  if (isQcow2Name(path)) return openQcow2Source(path, options)
  const opened = native(addon => addon.openSource(path, true), 'open')
  try {
    return await (opened.kind === 'file' ? openFileSource : openDeviceSource)(path, opened)
  } catch (error) {
    loadAddon().closeDevice(opened.handle)
    throw error
  }
}
