import { MoverError } from '../core/errors.js'
import { openDeviceTarget } from './device-target.js'
import { createFileTarget, openFileTarget } from './file-target.js'
import { guardTarget, type GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

/**
 * Guards and opens what is restored to. With `keeps`, what the target holds is built upon.
 * Throws what `guardTarget` throws, and TARGET_UNUSABLE or TARGET_FAILED from opening it.
 */
export async function openTarget(
  path: string,
  { keeps, ...guard }: GuardOptions & { readonly keeps: boolean },
): Promise<Target> {
  const kind = await guardTarget(path, guard)
  if (kind === 'block') return openDeviceTarget(path)
  if (kind === 'missing' && keeps) {
    throw new MoverError(
      'TARGET_UNUSABLE',
      `${path} is not there, so it holds no state to build on`,
      {
        stage: 'open',
        remedy: 'restore in full, without --onto',
      },
    )
  }
  return kind === 'file' ? openFileTarget(path, { keeps }) : createFileTarget(path)
}
