import { MoverError } from '../core/errors.js'
import {
  EVERYWHERE_OPTIONS,
  isValueSpec,
  type Command,
  type OperandSpec,
  type OperandTable,
  type OperandValues,
  type OptionSpec,
  type OptionTable,
  type OptionValues,
} from './command.js'
import { lineTokens, type OptionToken } from './line-tokens.js'
import { nearestWord } from './nearest-word.js'
import { NOT_UTF8, WHY_NOT_UTF8 } from './option-values.js'

/** A command line that is understood, though perhaps not allowed by its command. */
export interface Invocation {
  readonly command: Command
  readonly options: OptionValues<OptionTable>
  readonly operands: OperandValues<OperandTable>
  readonly everywhere: OptionValues<typeof EVERYWHERE_OPTIONS>
}

/** Checks every word against the tables of `command`. Throws ARGUMENT_INVALID with a remedy. */
export function parseArguments(
  argv: readonly string[],
  { command, commands }: { readonly command: Command; readonly commands: readonly Command[] },
): Invocation {
  const table: OptionTable = { ...command.options, ...EVERYWHERE_OPTIONS }
  const values = new Map<string, unknown[]>()
  const words: string[] = []
  let isNameSeen = false
  for (const token of lineTokens(argv, commands)) {
    if (token.kind === 'positional') {
      if (isNameSeen) words.push(token.value)
      isNameSeen = true
    } else if (token.kind === 'option') {
      const { name, spec } = optionOf(token, table)
      const given = values.get(name) ?? []
      const isOnce = isValueSpec(spec) && !spec.many
      if (isOnce && given.length > 0) throw invalid(`--${name} is given twice`)
      values.set(name, [...given, valueOf(token, spec)])
    }
  }
  return {
    command,
    operands: operandsOf(words, command),
    options: withDefaults(values, command.options),
    everywhere: withDefaults(values, EVERYWHERE_OPTIONS),
  }
}

interface NamedOption {
  readonly name: string
  readonly spec: OptionSpec
}

function optionOf({ name, rawName }: OptionToken, table: OptionTable): NamedOption {
  for (const [long, spec] of Object.entries(table)) {
    const isShort = !isValueSpec(spec) && spec.short !== undefined && rawName === `-${spec.short}`
    if (isShort || rawName === `--${long}`) return { name: long, spec }
  }
  const near = nearestWord(name, Object.keys(table))
  const hint = near === null ? '' : `; did you mean --${near}?`
  throw invalid(`there is no option ${rawName}${hint}`)
}

function valueOf({ rawName, value, inlineValue }: OptionToken, spec: OptionSpec): unknown {
  if (!isValueSpec(spec)) {
    if (value !== undefined) throw invalid(`${rawName} takes no value`)
    return true
  }
  if (value === undefined) throw invalid(`${rawName} needs a value: ${rawName}=${spec.value}`)
  // '--parent --json': the next option was swallowed as a value far more often than it is one.
  if (!inlineValue && value.startsWith('-') && value !== '-') {
    throw invalid(`${rawName} needs a value; if '${value}' is one, write ${rawName}=${value}`)
  }
  try {
    return spec.parse(value)
  } catch (cause) {
    if (!(cause instanceof MoverError)) throw cause
    throw new MoverError('ARGUMENT_INVALID', `${rawName}: ${cause.message}`, { cause })
  }
}

/** Operands by name, in the order of the command's table. */
function operandsOf(words: readonly string[], command: Command): OperandValues<OperandTable> {
  const operands: Record<string, unknown> = {}
  let next = 0
  for (const [name, spec] of Object.entries(command.operands)) {
    if (spec.many) {
      operands[name] = words.slice(next)
      next = words.length
      continue
    }
    const word = words[next++]
    if (word === undefined && !spec.optional) throw invalid(`${spec.label} is missing`)
    if (word !== undefined) checkOperand(word, spec)
    operands[name] = word
  }
  const surplus = words[next]
  if (surplus !== undefined) throw invalid(`'${surplus}' is one word too many`)
  return operands as OperandValues<OperandTable>
}

function checkOperand(word: string, { label, choices }: OperandSpec): void {
  if (word === '') throw invalid(`${label} is empty`)
  if (word.includes(NOT_UTF8)) throw invalid(`${label}: ${WHY_NOT_UTF8}`)
  if (choices !== undefined && !choices.includes(word)) {
    throw invalid(`'${word}' is none of ${choices.join(', ')}`)
  }
}

/** Flags become booleans, what may be given several times a list; what is required must be there. */
function withDefaults<O extends OptionTable>(
  values: ReadonlyMap<string, readonly unknown[]>,
  table: O,
): OptionValues<O> {
  const entries = Object.entries(table).map(([name, spec]) => {
    const given = values.get(name) ?? []
    if (!isValueSpec(spec)) return [name, given.length > 0] as const
    if (spec.required && given.length === 0) throw invalid(`--${name} ${spec.value} is missing`)
    return [name, spec.many ? given : given[0]] as const
  })
  return Object.fromEntries(entries) as OptionValues<O>
}

function invalid(message: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', message)
}
