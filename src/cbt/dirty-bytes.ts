import { eachExtent, type StatedExtents } from './change-map.js'

/** Bytes of what an answer does not call clean. */
export async function dirtyBytesOf(extents: StatedExtents): Promise<number> {
  let bytes = 0
  await eachExtent(extents, ({ length, state }) => {
    if (state !== 'clean') bytes += length
  })
  return bytes
}
