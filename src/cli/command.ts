import type { Io } from './io.js'
import { parseText } from './option-values.js'
import type { Report } from './report.js'

/** An option without a value. */
export interface FlagSpec {
  readonly help: string
  readonly short?: string
}

/** An option with a value; `parse` throws ARGUMENT_INVALID and names neither command nor option. */
export interface ValueSpec<T = unknown> {
  /** What stands for the value in the help: `BYTES`. */
  readonly value: string
  readonly help: string
  readonly parse: (text: string) => T
  /** May be given several times; the command sees a list. */
  readonly many?: true
  readonly required?: true
  /** Words that the shell offers. */
  readonly choices?: readonly string[]
  /** What the shell completes where there are no choices; nothing by default. */
  readonly completes?: 'file' | 'folder'
}

export type OptionSpec = FlagSpec | ValueSpec
export type OptionTable = Readonly<Record<string, OptionSpec>>

/** Words without a dash, in the order of the table. `many` may only be the last one. */
export interface OperandSpec {
  readonly label: string
  readonly help: string
  readonly optional?: true
  readonly many?: true
  readonly choices?: readonly string[]
  readonly completes?: 'file' | 'folder'
}

export type OperandTable = Readonly<Record<string, OperandSpec>>

export type OptionValues<O extends OptionTable> = { readonly [K in keyof O]: OptionValue<O[K]> }
type OptionValue<S> = S extends { parse: (text: string) => infer T }
  ? S extends { many: true }
    ? readonly T[]
    : S extends { required: true }
      ? T
      : T | undefined
  : boolean

export type OperandValues<P extends OperandTable> = { readonly [K in keyof P]: OperandValue<P[K]> }
type OperandValue<S> = S extends { many: true }
  ? readonly string[]
  : S extends { optional: true }
    ? string | undefined
    : string

export interface Example {
  readonly line: string
  readonly says: string
}

/** One command: what the parser, the help and the shell's completion know of it, and what it does. */
export interface Command<
  O extends OptionTable = OptionTable,
  P extends OperandTable = OperandTable,
> {
  readonly name: string
  /** Half a sentence for the list of commands. */
  readonly summary: string
  /** Paragraphs that the options cannot say. */
  readonly notes: readonly string[]
  readonly operands: P
  readonly options: O
  readonly examples: readonly Example[]
  /** What is true after it was cancelled, half a sentence. */
  readonly whenCancelled: string
  /** Whether stdout carries a volume's bytes, so that everything else goes to stderr. */
  takesStdout?(operands: Partial<OperandValues<P>>): boolean
  /** Resolves to the exit code. What it throws is reported by its caller. */
  run(context: Context<O, P>): Promise<number>
}

/** What a command gets to work with. */
export interface Context<
  O extends OptionTable = OptionTable,
  P extends OperandTable = OperandTable,
> {
  readonly options: OptionValues<O>
  readonly operands: OperandValues<P>
  /** From `--repo`, else MOVER_REPOSITORY; null when neither names one. */
  readonly repositoryPath: string | null
  /** ` --repo REPOSITORY` where the user had to type it, so that commands we propose work as printed. */
  readonly repositoryOption: string
  readonly report: Report
  /** Text that is no report (a help, a script), to stdout, whatever `--json` and `--quiet` say. */
  readonly print: (text: string) => Promise<void>
  /** All commands, for those that tell of others. */
  readonly commands: readonly Command[]
  readonly io: Io
  readonly signal: AbortSignal
}

/** Gives a command its option and operand types from its own tables. */
export function defineCommand<const O extends OptionTable, const P extends OperandTable>(
  command: Command<O, P>,
): Command<O, P> {
  return command
}

/** Understood by every command, before or after its name. */
export const EVERYWHERE_OPTIONS = {
  repo: {
    value: 'REPOSITORY',
    parse: parseText,
    completes: 'folder',
    help: 'the repository; MOVER_REPOSITORY where it is not given',
  },
  json: { help: 'JSON lines on stdout: events, then one last line, a result or an error' },
  quiet: { short: 'q', help: 'no progress, and results as bare ids; warnings are still shown' },
  help: { short: 'h', help: 'this help' },
  version: { help: 'the version of mover' },
} as const satisfies OptionTable

export function isValueSpec(spec: OptionSpec): spec is ValueSpec {
  return 'parse' in spec
}
