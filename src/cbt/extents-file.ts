/**
 * An extents file is written in one of three shapes: our own JSON lines, the array that `nbdinfo
 * --map --json` prints of a dirty bitmap, or the array that `rbd diff --format json` prints. The
 * first statement tells which.
 */
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import type { StatedExtent } from '../core/extent.js'
import { coverVolume, type CoverRules, type StatedExtents } from './change-map.js'
import { extentsOfLines } from './extent-lines.js'
import { jsonElements, jsonLines } from './json-pieces.js'
import { nbdExtent } from './nbd-map.js'
import { cutAtEnd, rbdExtent } from './rbd-diff.js'
import { isStatement, malformed, type ReadStatement } from './statement.js'

/** What a file is held against. */
export interface ExtentsContext extends AbortOptions {
  /** As the caller named the file, for messages. */
  readonly name: string
  readonly volumeBytes: number
  /** Whether the caller has said from which checkpoint the file counts; rbd's shape needs that. */
  readonly isPinned: boolean
}

/**
 * Yields what a file says of a volume, from its first byte to its last. Bytes that lines and rbd do
 * not list are clean, an nbd map must cover the volume, and `[]` says that nothing changed. Throws
 * CHANGES_MALFORMED for a file that is empty, cut, or does not fit, and CHANGES_UNPINNED.
 */
export async function* readExtents(
  text: AsyncIterable<string>,
  context: ExtentsContext,
): AsyncGenerator<StatedExtent> {
  const { volumeBytes, signal } = context
  const pieces = text[Symbol.asyncIterator]()
  try {
    const { gaps, extents } = await tellShape(pieces, context)
    yield* coverVolume(extents, { volumeBytes, gaps, code: 'CHANGES_MALFORMED' }, { signal })
  } catch (error) {
    throw withName(error, context)
  } finally {
    await pieces.return?.()
  }
}

interface Shape {
  readonly gaps: CoverRules['gaps']
  readonly extents: StatedExtents
}

async function tellShape(pieces: AsyncIterator<string>, context: ExtentsContext): Promise<Shape> {
  const head = await firstText(pieces)
  const whole = startingWith(head, pieces)
  if (head === '') throw malformed('it is empty; a file that says that nothing changed is []')
  if (head.startsWith('{')) return { gaps: 'clean', extents: extentsOfLines(jsonLines(whole)) }
  if (!head.startsWith('[')) throw malformed('it is neither JSON lines nor a JSON array')

  const elements = jsonElements(whole)
  const { done, value: first } = await elements.next()
  if (done === true) return { gaps: 'clean', extents: [] }
  if (!isStatement(first) || !('exists' in first)) {
    return { gaps: 'refused', extents: readAll(nbdExtent, first, elements) }
  }
  if (!context.isPinned) throw unpinned()
  const extents = readAll(rbdExtent, first, elements)
  return { gaps: 'clean', extents: cutAtEnd(extents, context.volumeBytes) }
}

async function* readAll(
  read: ReadStatement,
  first: unknown,
  others: AsyncIterable<unknown>,
): AsyncGenerator<StatedExtent> {
  const readNext = (element: unknown): StatedExtent => {
    number += 1
    if (isStatement(element)) return read(element, number)
    throw malformed(`element ${number} is not an object`)
  }
  let number = 0
  yield readNext(first)
  for await (const element of others) yield readNext(element)
}

/** The text from its first character that is not white space on, as far as it has come. */
async function firstText(pieces: AsyncIterator<string>): Promise<string> {
  for (;;) {
    const next = await pieces.next()
    const head = next.done === true ? '' : next.value.trimStart()
    if (next.done === true || head !== '') return head
  }
}

async function* startingWith(head: string, pieces: AsyncIterator<string>): AsyncGenerator<string> {
  yield head
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) {
    yield next.value
  }
}

/** Says which file it was, and what to do where nothing better is known. */
function withName(error: unknown, { name }: ExtentsContext): unknown {
  if (!(error instanceof MoverError) || error.code !== 'CHANGES_MALFORMED') return error
  return new MoverError(
    error.code,
    `${name} is not a change map of this volume: ${error.message}`,
    {
      stage: 'plan',
      offset: error.offset,
      remedy: error.remedy ?? 'write it again, or leave it out: a rescan needs no change map',
      cause: error,
    },
  )
}

function unpinned(): MoverError {
  const message = 'a diff of rbd does not say from which snapshot it counts'
  return new MoverError('CHANGES_UNPINNED', message, {
    stage: 'plan',
    remedy: 'name it: extents:FILE,since=CHECKPOINT, as it was given with --checkpoint',
  })
}
