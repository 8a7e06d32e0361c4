import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { isNbdUri } from '../core/nbd-uri.js'
import { openDeviceTarget } from './device-target.js'
import { createFileTarget, openFileTarget } from './file-target.js'
import { openNbdTarget } from './nbd-target.js'
import { guardTarget, type GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

export interface OpenTargetOptions extends AbortOptions, GuardOptions {
  readonly volumeBytes: number
  /** What the target holds is built upon, not emptied. */
  readonly keeps: boolean
}

/**
 * Guards and opens what a volume is restored to; nothing of it is changed yet. Throws what
 * `guardTarget`, `openDeviceTarget` and `openNbdTarget` throw, TARGET_STATE where there is nothing to build upon,
 * and TARGET_UNUSABLE or TARGET_FAILED from opening it.
 */
export async function openTarget(
  path: string,
  { volumeBytes, keeps, signal, ...guard }: OpenTargetOptions,
): Promise<Target> {
  if (isNbdUri(path)) return openNbdTarget(path, { volumeBytes, signal, ...guard })
  const kind = await guardTarget(path, guard)
  if (kind === 'block') return openDeviceTarget(path, volumeBytes)
  if (kind === 'file') return openFileTarget(path, { keeps })
  if (!keeps) return createFileTarget(path)
  throw new MoverError('TARGET_STATE', `${path} is not there, so it holds no state to build on`, {
    stage: 'open',
    remedy: 'restore in full, without --onto',
  })
}
