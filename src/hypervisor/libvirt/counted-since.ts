import { invariant } from '../../core/invariant.js'
import type { DiskHistory } from '../point-in-time.js'
import { placeOf, placeOfIdentity } from './domain-disks.js'
import type { OpenDomain } from './open-domain.js'
import { newestCheckpoint, type OwnCheckpoint } from './own-checkpoints.js'

/** The checkpoint that a disk's changes can be counted from, or why there is none. */
export type CountedSince =
  { readonly since: string } | { readonly since: null; readonly reason: string }

/**
 * Whether libvirt's word on a disk can be taken, before its bitmap is looked at. The bitmaps of a
 * checkpoint have one name on all disks of the domain: where a disk lies neither where it lay at the
 * checkpoint nor on top of that, as after two disks were exchanged, a bitmap says nothing of it; nor does
 * one that came with another file to the same path.
 */
export function countedSince(
  history: DiskHistory,
  { chosen }: OpenDomain,
  checkpoints: readonly OwnCheckpoint[],
): CountedSince {
  const disk = chosen.disks.find(({ target }) => target === history.disk)
  invariant(disk !== undefined, 'a disk that is backed up was chosen')
  const untracked = chosen.untracked.get(disk.target)
  if (untracked !== undefined) return { since: null, reason: untracked }
  const since = newestCheckpoint(history, checkpoints)
  if (since === null) {
    return { since, reason: 'the checkpoint of the newest backup is gone' }
  }
  const place = placeOfIdentity(history.identities.get(since) ?? '')
  if (place !== null && [disk.path, ...disk.below].some(path => placeOf(path) === place)) {
    return { since }
  }
  return { since: null, reason: 'the disk lies elsewhere than at its checkpoint' }
}
