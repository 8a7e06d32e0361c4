import { MoverError } from '../core/errors.js'
import { openDeviceTarget } from './device-target.js'
import { createFileTarget, openFileTarget } from './file-target.js'
import { guardTarget, type GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

export interface OpenTargetOptions extends GuardOptions {
  readonly volumeBytes: number
  /** What the target holds is built upon, not emptied. */
  readonly keeps: boolean
}

/**
 * Guards and opens what a volume is restored to; nothing of it is changed yet. Throws what
 * `guardTarget` and `openDeviceTarget` throw, TARGET_STATE where there is nothing to build upon,
 * and TARGET_UNUSABLE or TARGET_FAILED from opening it.
 */
export async function openTarget(
  path: string,
  { volumeBytes, keeps, ...guard }: OpenTargetOptions,
): Promise<Target> {
  const kind = await guardTarget(path, guard)
  if (kind === 'block') return openDeviceTarget(path, volumeBytes)
  if (kind === 'file') return openFileTarget(path, { keeps })
  if (!keeps) return createFileTarget(path)
  throw new MoverError('TARGET_STATE', `${path} is not there, so it holds no state to build on`, {
    stage: 'open',
    remedy: 'restore in full, without --onto',
  })
}
