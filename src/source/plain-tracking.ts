import type { AbortOptions } from '../core/abort.js'
import { looksLikeQcow2 } from './looks-like-qcow2.js'
import { openSource } from './open-source.js'
import type { Tracking } from '../cbt/tracking.js'

/** What tracks a file or a block device: nothing that can be seen from it. */
export async function plainTracking(name: string, options?: AbortOptions): Promise<Tracking> {
  await using source = await openSource(name, options)
  const { kind, volumeBytes } = source
  const remedy = (await looksLikeQcow2(source))
    ? `it begins as a qcow2 image: if it is one, its bitmaps are those of qcow2:${name}`
    : 'without --changes a backup reads it all and stores what differs; QEMU keeps dirty bitmaps of it ' +
      'in an image with it as its data file (qemu-img create -f qcow2 -o ' +
      `data_file=${name},data_file_raw=on, which empties it), named by qcow2:IMAGE,bitmap=NAME`
  const found = { dataFile: null, trackers: [], reason: null, remedy }
  return { source: name, kind, volumeBytes, ...found }
}
