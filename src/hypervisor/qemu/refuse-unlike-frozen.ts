/** What has to be true of a disk while it is frozen. */
import type { AbortOptions } from '../../core/abort.js'
import { MoverError } from '../../core/errors.js'
import type { DiskRun } from './begin-point-in-time.js'
import { readBlockState } from './block-state.js'
import type { QmpClient } from './qmp-client.js'

/**
 * Throws SOURCE_CHANGED when the frozen view of a disk cannot be what it was: its job has ended, its
 * bitmaps are not as they were left, or the disk has another size.
 */
export async function refuseUnlikeFrozen(
  qmp: QmpClient,
  runs: readonly DiskRun[],
  options?: AbortOptions,
): Promise<void> {
  const { nodes, jobs } = await readBlockState(qmp, options)
  for (const { name, node, names, next, since, volumeBytes } of runs) {
    const disk = nodes.get(node)
    const bitmap = (wanted: string) => disk?.bitmaps.find(found => found.name === wanted)
    const why =
      disk === undefined
        ? 'it is gone'
        : !['running', 'paused', 'ready'].includes(jobs.get(names.job)?.status ?? '')
          ? 'the job that keeps it frozen was ended'
          : disk.volumeBytes !== volumeBytes
            ? `it changed from ${volumeBytes} to ${disk.volumeBytes} bytes`
            : bitmap(next)?.isRecording !== true
              ? `bitmap ${next} does not record`
              : 'bitmap' in since && bitmap(since.bitmap)?.isRecording !== false
                ? `bitmap ${since.bitmap} is gone, or records`
                : null
    if (why === null) continue
    throw new MoverError('SOURCE_CHANGED', `the frozen view of '${name}' is void: ${why}`, {
      stage: 'read',
      remedy: 'back up again; what is named mover-… in the machine is not for others to change',
    })
  }
}
