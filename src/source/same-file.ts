import { MoverError } from '../core/errors.js'
import { native, type DeviceInfo } from '../native/addon.js'

/** Throws SOURCE_CHANGED where an open file is not as it was `before`. */
export function checkSameFile(name: string, before: DeviceInfo): void {
  const now = native(addon => addon.deviceInfo(before.handle), 'read')
  const moved = (['bytes', 'mtimeNs', 'ctimeNs', 'inode', 'device'] as const).filter(
    field => now[field] !== before[field],
  )
  if (moved.length === 0) return
  throw new MoverError(
    'SOURCE_CHANGED',
    `${name} was written to while it was read (${moved.join(', ')})`,
    {
      stage: 'read',
      remedy: 'back up a snapshot of the volume, or stop its writer first',
      details: { changed: moved },
    },
  )
}
