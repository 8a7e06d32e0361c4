import { MoverError } from '../core/errors.js'
import { extentOf, malformed, type ReadStatement } from './statement.js'

/** What nbdinfo calls extents of contexts that are not dirty bitmaps. */
const ALLOCATION = /^(data|hole|zero|hole,zero|unallocated|local|backing depth \d+)$/

/**
 * Reads an element of what `nbdinfo --json --map=qemu:dirty-bitmap:NAME` prints. An allocation map,
 * which looks much the same and means something else, is CHANGES_MALFORMED with a remedy.
 */
export const nbdExtent: ReadStatement = (element, number) => {
  const { type, description } = element
  const isQemuMap = 'start' in element && !('offset' in element)
  if (isQemuMap || (typeof description === 'string' && ALLOCATION.test(description))) {
    throw allocationMap()
  }
  if (description === 'dirty' && type === 1) return { ...extentOf(element, number), state: 'data' }
  if (description === 'clean' && type === 0) return { ...extentOf(element, number), state: 'clean' }
  throw malformed(
    `element ${number} is neither {…,"type":0,"description":"clean"} nor {…,"type":1,` +
      `"description":"dirty"} as nbdinfo prints, nor has it "exists" as rbd diff prints`,
  )
}

function allocationMap(): MoverError {
  const message = 'it is an allocation map, which says where data is and not what changed'
  return new MoverError('CHANGES_MALFORMED', message, {
    stage: 'plan',
    remedy: 'ask for the dirty bitmap: nbdinfo --json --map=qemu:dirty-bitmap:NAME URI',
  })
}
