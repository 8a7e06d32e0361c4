import { MoverError } from '../core/errors.js'
import { loadAddon, native } from '../native/addon.js'
import type { Target } from './target.js'

/**
 * A block device, held exclusively. Nothing is known of what it holds, so that every zero of the
 * volume is written too; what lies beyond the volume stays as it is.
 */
export function openDeviceTarget(path: string): Target {
  const { handle, bytes, readOnly } = native(
    addon => addon.openTarget(path, { create: false, exclusive: true, direct: true }),
    'open',
  )
  return {
    kind: 'block',
    name: path,
    handle,
    bytes,
    readsAsZero: false,
    async prepare(volumeBytes) {
      if (readOnly) throw refusal(path, 'read-only', 'the device is read-only')
      if (bytes < volumeBytes) {
        throw refusal(path, 'too-small', `it holds ${bytes} bytes, the volume has ${volumeBytes}`)
      }
    },
    flush: () => native(addon => addon.syncDevice(handle), 'flush'),
    async finish() {
      // Nothing is left to do: what lies beyond the volume stays as it was.
    },
    async [Symbol.asyncDispose]() {
      loadAddon().closeDevice(handle)
    },
  }
}

function refusal(path: string, reason: string, message: string): MoverError {
  return new MoverError('TARGET_REFUSED', `${path} cannot be the target: ${message}`, {
    stage: 'open',
    details: { reason },
    remedy: 'name another target',
  })
}
