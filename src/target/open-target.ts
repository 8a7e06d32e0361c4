import type { AbortOptions } from '../core/abort.js'
import { isNbdUri } from '../core/nbd-uri.js'
import { isQcow2Name } from '../core/qcow2-name.js'
import { native } from '../native/addon.js'
import { openDeviceTarget } from './device-target.js'
import { createFileTarget, openFileTarget } from './file-target.js'
import { openNbdTarget } from './nbd-target.js'
import { openQcow2Target } from './qcow2-target.js'
import { guardTarget, nothingToKeep, openElsewhere, type GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

export interface OpenTargetOptions extends AbortOptions, GuardOptions {
  readonly volumeBytes: number
  /** What the target holds is built upon, not emptied. */
  readonly keeps: boolean
}

/**
 * Guards and opens what a volume is restored to; nothing of it is changed yet. Throws what
 * `guardTarget`, `openDeviceTarget`, `openNbdTarget` and `openQcow2Target` throw, TARGET_STATE where there is nothing to build upon,
 * TARGET_REFUSED with `details.reason` in-use for a file that a machine writes to, and TARGET_UNUSABLE or
 * TARGET_FAILED from opening it.
 */
export async function openTarget(
  path: string,
  { volumeBytes, keeps, signal, ...guard }: OpenTargetOptions,
): Promise<Target> {
  if (isNbdUri(path)) return openNbdTarget(path, { volumeBytes, signal, ...guard })
  if (isQcow2Name(path)) return openQcow2Target(path, { volumeBytes, keeps, signal, ...guard })
  const kind = await guardTarget(path, guard)
  if (kind === 'block') return openDeviceTarget(path, volumeBytes)
  if (kind === 'file') return openFreeFile(path, { keeps, force: guard.force })
  if (!keeps) return createFileTarget(path)
  throw nothingToKeep(path)
}

/** A file that a machine has open for writing, by QEMU's locks, is not free; and none opens it while it is written. */
async function openFreeFile(
  path: string,
  { keeps, force }: { readonly keeps: boolean } & Pick<GuardOptions, 'force'>,
): Promise<Target> {
  const target = openFileTarget(path, { keeps })
  if (force.includes('in-use')) return target
  try {
    if (native(addon => addon.holdImage(target.handle), 'open')) return target
  } catch (error) {
    await target[Symbol.asyncDispose]()
    throw error
  }
  await target[Symbol.asyncDispose]()
  throw openElsewhere(path)
}
