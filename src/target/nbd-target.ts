import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { native, type NbdInfo } from '../native/addon.js'
import { openNbdVolume } from '../native/nbd-volume.js'
import type { GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

export interface NbdTargetOptions extends AbortOptions, Pick<GuardOptions, 'force' | 'identity'> {
  readonly volumeBytes: number
}

/**
 * A volume on an NBD server, which has the size it has. Nothing is known of what it holds, so that every
 * zero is written too; who else writes to it is the server's to know. Throws TARGET_REFUSED with
 * `details.reason` read-only, too-small, not-durable or identity, and what `openNbdVolume` throws.
 */
export async function openNbdTarget(
  uri: string,
  { volumeBytes, identity, force, signal }: NbdTargetOptions,
): Promise<Target> {
  if (identity !== null && !force.includes('identity')) {
    const message = `it is not ${identity}: an NBD volume has neither WWID nor serial`
    throw refused(uri, { reason: 'identity', message })
  }
  const opened = await openNbdVolume(uri, { role: 'target', contexts: [], signal })
  const { handle, bytes } = opened
  const refusal = refusalOf(opened, volumeBytes)
  if (refusal !== null) {
    opened.close()
    throw refused(uri, refusal)
  }
  return {
    kind: 'nbd',
    isNew: false,
    name: uri,
    handle,
    bytes,
    readsAsZero: false,
    async prepare() {
      // The server's volume has the size it has.
    },
    flush: () => native(addon => addon.syncDevice(handle), 'flush'),
    async finish() {
      // Nothing is left to do: what lies beyond the volume stays as it was.
    },
    async [Symbol.asyncDispose]() {
      opened.close()
    },
  }
}

interface Refusal {
  readonly reason: 'read-only' | 'too-small' | 'not-durable' | 'identity'
  readonly message: string
}

function refusalOf({ readOnly, bytes, canSync }: NbdInfo, volumeBytes: number): Refusal | null {
  if (readOnly) return { reason: 'read-only', message: 'its server offers it for reading only' }
  if (bytes < volumeBytes) {
    const message = `it holds ${bytes} bytes, and the volume has ${volumeBytes}`
    return { reason: 'too-small', message }
  }
  if (canSync) return null
  const message = 'its server can neither flush nor write durably, so a restore would never be done'
  return { reason: 'not-durable', message }
}

function refused(uri: string, { reason, message }: Refusal): MoverError {
  return new MoverError('TARGET_REFUSED', `${uri} may not be written: ${message}`, {
    stage: 'open',
    details: { reason },
    remedy: reason === 'identity' ? 'leave out --identity' : 'name another target',
  })
}
