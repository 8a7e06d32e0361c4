import { MoverError } from '../core/errors.js'
import type { Command } from './command.js'
import { lineTokens } from './line-tokens.js'
import { nearestWord } from './nearest-word.js'

/** What is asked for before the options of any command are looked at. */
export interface FirstLook {
  readonly command: Command | null
  readonly isHelp: boolean
  readonly isVersion: boolean
}

/**
 * Finds the command, and the options that override it. Throws ARGUMENT_INVALID for a word that is
 * no command, unless the version is asked for.
 */
export function lookAt(argv: readonly string[], commands: readonly Command[]): FirstLook {
  const tokens = lineTokens(argv, commands)
  const given = new Set(tokens.flatMap(token => (token.kind === 'option' ? token.name : [])))
  const word = tokens.find(token => token.kind === 'positional')?.value
  const isVersion = given.has('version')
  return {
    command: word === undefined || isVersion ? null : commandOf(word, commands),
    isHelp: given.has('help') || given.has('h'),
    isVersion,
  }
}

/** Whether the line asks for JSON, even if nothing else of it can be understood. */
export function asksForJson(argv: readonly string[], commands: readonly Command[]): boolean {
  return lineTokens(argv, commands).some(
    token => token.kind === 'option' && (token.name === 'json' || isSwallowedJson(token)),
  )
}

/** `--parent --json` lacks a value, and who wrote it waits for JSON. */
function isSwallowedJson(token: { value?: string | undefined; inlineValue?: boolean | undefined }) {
  return token.value === '--json' && token.inlineValue === false
}

/** The command of this name. Throws ARGUMENT_INVALID with the nearest one there is. */
export function commandOf(word: string, commands: readonly Command[]): Command {
  const command = commands.find(({ name }) => name === word)
  if (command !== undefined) return command
  const names = commands.map(({ name }) => name)
  const near = nearestWord(word, names)
  const hint = near === null ? '' : `; did you mean ${near}?`
  throw new MoverError('ARGUMENT_INVALID', `there is no command '${word}'${hint}`, {
    remedy: 'mover help lists the commands',
  })
}
