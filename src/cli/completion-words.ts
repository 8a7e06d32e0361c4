import {
  EVERYWHERE_OPTIONS,
  isValueSpec,
  type Command,
  type OperandSpec,
  type OptionSpec,
} from './command.js'

/** A command's options as the shells are told of them. */
export interface CompletedOption {
  readonly name: string
  readonly short: string | null
  readonly help: string
  /** Null for a flag. */
  readonly value: CompletedValue | null
}

/** What may follow: one of these words, a file, a folder, or what only the user knows. */
export interface CompletedValue {
  readonly label: string
  readonly choices: readonly string[]
  readonly files: 'file' | 'folder' | null
}

export const EVERYWHERE: readonly CompletedOption[] =
  Object.entries(EVERYWHERE_OPTIONS).map(completedOption)

export function ownOptions({ options }: Command): readonly CompletedOption[] {
  return Object.entries(options).map(completedOption)
}

/** Operands in order; those of `completion` and `help` are words that are known. */
export function operandValues(
  { name, operands }: Command,
  commands: readonly Command[],
): readonly CompletedValue[] {
  return Object.values<OperandSpec>(operands).map(({ label, choices, completes }) => ({
    label,
    choices: name === 'help' ? commands.map(command => command.name) : (choices ?? []),
    files: completes ?? null,
  }))
}

function completedOption([name, spec]: readonly [string, OptionSpec]): CompletedOption {
  const { help } = spec
  if (!isValueSpec(spec)) return { name, short: spec.short ?? null, help, value: null }
  const { value, choices = [], completes = null } = spec
  return { name, short: null, help, value: { label: value, choices, files: completes } }
}
