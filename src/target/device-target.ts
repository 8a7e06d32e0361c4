import { MoverError } from '../core/errors.js'
import { loadAddon, native, type DeviceInfo } from '../native/addon.js'
import type { Target } from './target.js'

/**
 * A block device, held exclusively. Nothing is known of what it holds, so that every zero of the
 * volume is written too; what lies beyond the volume stays as it is. Throws TARGET_REFUSED with
 * `details.reason` held, read-only or too-small, and TARGET_UNUSABLE.
 */
export function openDeviceTarget(path: string, volumeBytes: number): Target {
  const opened = openExclusively(path)
  const { handle, bytes } = opened
  const refusal = refusalOf(path, opened, volumeBytes)
  if (refusal !== null) {
    loadAddon().closeDevice(handle)
    throw refusal
  }
  return {
    kind: 'block',
    isNew: false,
    name: path,
    handle,
    bytes,
    readsAsZero: false,
    async prepare() {
      // A device has the size it has.
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

function openExclusively(path: string): DeviceInfo {
  const options = { create: false, exclusive: true, direct: true }
  try {
    return native(addon => addon.openTarget(path, options), 'open')
  } catch (error) {
    // The kernel's own word for what the guard could not see: somebody has claimed it.
    if (error instanceof MoverError && error.code === 'TARGET_REFUSED') {
      throw refused(path, 'held', { message: 'something else holds it', cause: error })
    }
    throw error
  }
}

function refusalOf(
  path: string,
  { readOnly, bytes }: DeviceInfo,
  volumeBytes: number,
): MoverError | null {
  if (readOnly) return refused(path, 'read-only', { message: 'the device is read-only' })
  if (bytes >= volumeBytes) return null
  const message = `it holds ${bytes} bytes, and the volume has ${volumeBytes}`
  return refused(path, 'too-small', { message })
}

function refused(
  path: string,
  reason: string,
  { message, cause }: { readonly message: string; readonly cause?: unknown },
): MoverError {
  return new MoverError('TARGET_REFUSED', `${path} may not be written: ${message}`, {
    stage: 'open',
    details: { reason },
    remedy: `${reason === 'held' ? 'free it first, or name' : 'name'} another target; no --force lifts this`,
    cause,
  })
}
