import { parseArgs } from 'node:util'
import { EVERYWHERE_OPTIONS, isValueSpec, type Command, type OptionTable } from './command.js'

/** A word of the command line: an option with its value, a word without a dash, or `--`. */
export type Token = NonNullable<
  ReturnType<typeof parseArgs<{ tokens: true; strict: false }>>['tokens']
>[number]

export type OptionToken = Token & { kind: 'option' }

/**
 * Cuts the line into words by the options of all commands at once, because an option may stand
 * before the command. parseArgs is not asked to be strict: its messages know no commands and no
 * neighbours. Being strict is `parseArguments`.
 */
export function lineTokens(
  argv: readonly string[],
  commands: readonly Command[],
): readonly Token[] {
  const tables: OptionTable[] = [EVERYWHERE_OPTIONS, ...commands.map(({ options }) => options)]
  const options = Object.fromEntries(
    tables.flatMap(table =>
      Object.entries(table).map(([name, spec]) => [
        name,
        isValueSpec(spec)
          ? { type: 'string' as const }
          : { type: 'boolean' as const, ...(spec.short && { short: spec.short }) },
      ]),
    ),
  )
  const { tokens } = parseArgs({
    args: [...argv],
    options,
    allowPositionals: true,
    strict: false,
    tokens: true,
  })
  return tokens
}
