/**
 * The three shapes of an extents file: our own JSON lines, the array that `nbdinfo --map --json`
 * prints of a dirty bitmap, and the array that `rbd diff --format json` prints. A file in none of
 * them, or one that is cut, is `CHANGES_MALFORMED`.
 */
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import type { ExtentState, StatedExtent } from '../core/extent.js'
import { coverVolume, type CoverRules, type StatedExtents } from './change-map.js'
import { jsonElements, jsonLines } from './json-pieces.js'

/** What the statements of a file are held against. */
export interface ExtentsContext extends AbortOptions {
  readonly volumeBytes: number
  /** Whether the caller has said from which checkpoint the file counts; rbd's shape needs that. */
  readonly isPinned: boolean
}

/**
 * Yields what a file says of a volume, from its first byte to its last. Extents that lines and rbd do
 * not list are clean; an nbd map must cover the volume; an rbd extent, rounded up to whole objects,
 * is cut at the end of the volume; `[]` says that nothing changed.
 */
export async function* readExtents(
  text: AsyncIterable<string>,
  { volumeBytes, isPinned, signal }: ExtentsContext,
): AsyncGenerator<StatedExtent> {
  const pieces = text[Symbol.asyncIterator]()
  try {
    const { gaps, extents } = await shapeOf(await firstText(pieces), {
      pieces,
      volumeBytes,
      isPinned,
    })
    yield* coverVolume(extents, { volumeBytes, gaps, code: 'CHANGES_MALFORMED' }, { signal })
  } finally {
    await pieces.return?.()
  }
}

interface Shape {
  readonly gaps: CoverRules['gaps']
  readonly extents: StatedExtents
}

interface ShapeContext extends ExtentsContext {
  readonly pieces: AsyncIterator<string>
}

/** Tells the shape from the first statement, whose text begins with `head`. */
async function shapeOf(head: string, context: ShapeContext): Promise<Shape> {
  const { pieces, volumeBytes, isPinned } = context
  const whole = startingWith(head, pieces)
  if (head === '') throw malformed('the file is empty; where nothing changed it says []')
  if (head.startsWith('{')) return { gaps: 'clean', extents: ofLines(jsonLines(whole)) }
  if (!head.startsWith('[')) throw malformed('it is neither JSON lines nor a JSON array')

  const elements = jsonElements(whole)
  const { done, value: first } = await elements.next()
  if (done) return { gaps: 'clean', extents: [] }
  if (!isRecord(first) || !('exists' in first)) {
    return { gaps: 'refused', extents: ofArray(nbdExtent, first, elements) }
  }
  if (!isPinned) throw unpinned()
  const extents = ofArray(rbdExtent, first, elements)
  return { gaps: 'clean', extents: cutAtEnd(extents, volumeBytes) }
}

async function* ofLines(lines: AsyncIterable<unknown>): AsyncGenerator<StatedExtent> {
  let count = 0
  let isEnded = false
  for await (const line of lines) {
    if (isEnded) throw malformed('something follows the line that ends it')
    if (isRecord(line) && line['end'] === true) {
      if (line['extents'] !== count) {
        throw malformed(`its end counts ${String(line['extents'])} extents, but there are ${count}`)
      }
      isEnded = true
    } else {
      count += 1
      yield lineExtent(line, count)
    }
  }
  if (!isEnded) throw malformed('it is cut: the line {"end":true,"extents":N} is missing')
}

function lineExtent(line: unknown, number: number): StatedExtent {
  // Keys we do not know could change what the others mean.
  if (!isRecord(line) || Object.keys(line).sort().join() !== 'length,offset,state') {
    throw malformed(`extent ${number} is not {"offset":…,"length":…,"state":…}`)
  }
  const { offset, length, state } = line
  return { ...extentNumbers({ offset, length }, number), state: state as ExtentState }
}

type ParseElement = (element: Readonly<Record<string, unknown>>, number: number) => StatedExtent

async function* ofArray(
  parse: ParseElement,
  first: unknown,
  others: AsyncIterable<unknown>,
): AsyncGenerator<StatedExtent> {
  let number = 1
  yield parse(asRecord(first, number), number)
  for await (const element of others) {
    number += 1
    yield parse(asRecord(element, number), number)
  }
}

const ALLOCATION = /^(data|hole|zero|hole,zero|unallocated|local|backing depth \d+)$/

const nbdExtent: ParseElement = (element, number) => {
  const { type, description } = element
  const isQemuMap = 'start' in element && !('offset' in element)
  if (isQemuMap || (typeof description === 'string' && ALLOCATION.test(description))) {
    throw allocationMap()
  }
  if (description === 'dirty' && type === 1) {
    return { ...extentNumbers(element, number), state: 'data' }
  }
  if (description === 'clean' && type === 0) {
    return { ...extentNumbers(element, number), state: 'clean' }
  }
  throw malformed(
    `element ${number} is neither {…,"type":0,"description":"clean"} nor {…,"type":1,` +
      `"description":"dirty"} as nbdinfo prints, nor has it "exists" as rbd diff prints`,
  )
}

/** A hole has changed as much as data: it is `zero`, never `clean` (B28). */
const rbdExtent: ParseElement = (element, number) => {
  const exists = String(element['exists'])
  if (exists !== 'true' && exists !== 'false') {
    throw malformed(`element ${number} has "exists" neither true nor false`)
  }
  return { ...extentNumbers(element, number), state: exists === 'true' ? 'data' : 'zero' }
}

async function* cutAtEnd(
  extents: AsyncIterable<StatedExtent>,
  volumeBytes: number,
): AsyncGenerator<StatedExtent> {
  for await (const extent of extents) {
    // One that starts behind the end is left as it is, and refused with the rest of the checks.
    const room = volumeBytes - extent.offset
    yield room > 0 && extent.length > room ? { ...extent, length: room } : extent
  }
}

/** The text from its first character that is not white space on, as far as it has come. */
async function firstText(pieces: AsyncIterator<string>): Promise<string> {
  for (;;) {
    const { done, value } = await pieces.next()
    const head = done ? '' : value.trimStart()
    if (done || head !== '') return head
  }
}

async function* startingWith(head: string, pieces: AsyncIterator<string>): AsyncGenerator<string> {
  yield head
  for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield next.value
}

function extentNumbers(
  { offset, length }: Readonly<Record<string, unknown>>,
  number: number,
): { readonly offset: number; readonly length: number } {
  if (typeof offset === 'number' && typeof length === 'number') return { offset, length }
  throw malformed(`extent ${number} lacks a numeric offset or length`)
}

function asRecord(value: unknown, number: number): Readonly<Record<string, unknown>> {
  if (isRecord(value)) return value
  throw malformed(`element ${number} is not an object`)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function allocationMap(): MoverError {
  return new MoverError(
    'CHANGES_MALFORMED',
    'this is an allocation map: it says where data is, not what changed',
    {
      stage: 'plan',
      remedy: 'ask for the dirty bitmap: nbdinfo --json --map=qemu:dirty-bitmap:NAME URI',
    },
  )
}

function unpinned(): MoverError {
  return new MoverError(
    'CHANGES_UNPINNED',
    'a diff of rbd does not say from which snapshot it counts',
    {
      stage: 'plan',
      remedy: 'name it: extents:FILE,since=CHECKPOINT, as it was given with --checkpoint',
    },
  )
}

function malformed(why: string): MoverError {
  return new MoverError('CHANGES_MALFORMED', why, { stage: 'plan' })
}
