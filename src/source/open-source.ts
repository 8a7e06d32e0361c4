import { loadAddon, native } from '../native/addon.js'
import { openDeviceSource } from './device-source.js'
import { openFileSource } from './file-source.js'
import type { Source } from './source.js'

/**
 * Opens a regular file or a block device for reading, past the page cache where it can be.
 * Throws SOURCE_UNUSABLE for anything else and for what may not be read.
 */
export async function openSource(path: string): Promise<Source> {
  const opened = native(addon => addon.openSource(path, true), 'open')
  try {
    return await (opened.kind === 'file' ? openFileSource : openDeviceSource)(path, opened)
  } catch (error) {
    loadAddon().closeDevice(opened.handle)
    throw error
  }
}
