import { beginsAsQcow2 } from '../cbt/qcow2-header.js'
import { native } from '../native/addon.js'
import type { Source } from './source.js'

const MAGIC_BYTES = 4

/** Whether a file or device of this host begins as an image does; that it is one is not said. */
export async function looksLikeQcow2({ kind, volumeBytes, handle }: Source): Promise<boolean> {
  if ((kind !== 'file' && kind !== 'block') || volumeBytes < MAGIC_BYTES) return false
  return beginsAsQcow2(await native(addon => addon.readPiece(handle, 0, MAGIC_BYTES), 'read'))
}
