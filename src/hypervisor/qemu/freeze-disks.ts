import { MoverError } from '../../core/errors.js'
import type { DiskRun } from './begin-point-in-time.js'
import type { QmpClient } from './qmp-client.js'

/** Of QEMU's own choice for qcow2, and the size of a chunk. */
const GRANULARITY_BYTES = 65_536

/**
 * Freezes all disks in one transaction: a copy before each write of the guest, a bitmap that records from
 * here on, and one that does not any more. Whether this QEMU, where a copy fails, gives the frozen view up
 * and lets the guest's write through (QEMU 10.1 and later), or fails the guest's write.
 */
export async function freezeDisks(qmp: QmpClient, runs: readonly DiskRun[]): Promise<boolean> {
  const freeze = (isSparing: boolean) =>
    qmp.execute('transaction', { actions: runs.flatMap(run => actionsOf(run, isSparing)) })
  try {
    await freeze(true)
    return true
  } catch (error) {
    // It is refused as a word that QEMU does not know, before anything is done.
    if (!(error instanceof MoverError) || !error.message.includes('on-cbw-error')) throw error
    await freeze(false)
    return false
  }
}

function actionsOf(
  { node, names, next, since, keepsBitmaps }: DiskRun,
  isSparing: boolean,
): object[] {
  const copy = {
    'job-id': names.job,
    device: node,
    target: names.overlay,
    sync: 'none',
    'filter-node-name': names.filter,
    ...(isSparing ? { 'on-cbw-error': 'break-snapshot' } : {}),
  }
  const bitmap = { node, name: next, persistent: keepsBitmaps, granularity: GRANULARITY_BYTES }
  return [
    { type: 'blockdev-backup', data: copy },
    { type: 'block-dirty-bitmap-add', data: bitmap },
    ...('bitmap' in since
      ? [{ type: 'block-dirty-bitmap-disable', data: { node, name: since.bitmap } }]
      : []),
  ]
}
