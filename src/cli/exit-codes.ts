import { errorKind, MoverError, type ErrorKind } from '../core/errors.js'

/** How a run may end. Scripts rely on these numbers: one may be added, none is ever changed. */
export const EXIT_CODES = {
  done: 0,
  internal: 1,
  usage: 2,
  refused: 3,
  source: 4,
  repository: 5,
  target: 6,
  integrity: 7,
  cancelled: 8,
} as const satisfies Readonly<Record<'done' | ErrorKind, number>>

export type Ending = keyof typeof EXIT_CODES

/** What each ending means, in the words of the help. */
export const EXIT_MEANINGS: Readonly<Record<Ending, string>> = {
  done: 'done',
  internal: 'a bug in mover: please report it',
  usage: 'the command line is wrong; nothing was begun',
  refused: 'refused: not safe, ambiguous, or no such manifest',
  source: 'the source, or what says how it changed, could not be read',
  repository: 'the repository could not be opened, read or written',
  target: 'the target, or stdout, could not be written',
  integrity: 'damage found: stored bytes, an audit or a read-back do not match',
  cancelled: 'cancelled by a signal, or because nobody reads stdout any more',
}

/** The exit code for what a command threw: anything but a MoverError is a bug of ours. */
export function exitCodeOf(error: unknown): number {
  return EXIT_CODES[error instanceof MoverError ? errorKind(error.code) : 'internal']
}
