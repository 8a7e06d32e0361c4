import { MoverError } from '../core/errors.js'
import type { Command } from './command.js'

/**
 * The error with what only the command knows: after a cancel what still holds, after a wrong
 * command line where to read on. Everything else is passed as it is.
 */
export function explainedError(
  error: unknown,
  { name, whenCancelled }: Pick<Command, 'name' | 'whenCancelled'>,
): unknown {
  if (!(error instanceof MoverError)) return error
  const { code, message, stage, offset, remedy, details } = error
  const rest = { stage, offset, details, cause: error }
  if (code === 'CANCELLED') return new MoverError(code, `cancelled; ${whenCancelled}`, rest)
  if (code !== 'ARGUMENT_INVALID' || remedy !== null) return error
  return new MoverError(code, message, { ...rest, remedy: `mover ${name} --help` })
}
