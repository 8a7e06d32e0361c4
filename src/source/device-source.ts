import { MoverError } from '../core/errors.js'
import { loadAddon, native, type DeviceInfo } from '../native/addon.js'
import type { Source } from './source.js'

/** A block device: no holes are known of it, and only its size can be seen to change. */
export async function openDeviceSource(name: string, opened: DeviceInfo): Promise<Source> {
  const { handle, bytes, device } = opened
  // Flushes the device's buffers: without direct I/O, a read could otherwise be older than the device.
  await native(addon => addon.syncDevice(handle), 'open')
  return {
    kind: 'block',
    name,
    volumeBytes: bytes,
    handle,
    identity: `block ${device}`,
    allocated: () => null,
    checkUnchanged() {
      const now = native(addon => addon.deviceInfo(handle), 'read').bytes
      if (now === bytes) return
      throw new MoverError(
        'SOURCE_CHANGED',
        `${name} changed from ${bytes} to ${now} bytes while it was read`,
        {
          stage: 'read',
          remedy: 'back up a snapshot of the volume',
        },
      )
    },
    async [Symbol.asyncDispose]() {
      loadAddon().closeDevice(handle)
    },
  }
}
