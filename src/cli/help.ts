import {
  EVERYWHERE_OPTIONS,
  isValueSpec,
  type Command,
  type Example,
  type OperandSpec,
  type OptionSpec,
  type OptionTable,
} from './command.js'
import { EXIT_CODES, EXIT_MEANINGS, type Ending } from './exit-codes.js'
import { wrapWords } from './wrap-words.js'

const COLUMNS = 80
const INDENT = '  '

/** `mover help`: what there is, the exit codes, and where to read on. */
export function overviewHelp(commands: readonly Command[]): string {
  return sections([
    ['mover - back up, verify and restore volumes, by what changed'],
    ['usage: mover COMMAND [OPERAND]... [OPTION]...'],
    ['commands:', ...definitions(commands.map(({ name, summary }) => [name, summary]))],
    ['everywhere:', ...optionLines(EVERYWHERE_OPTIONS)],
    ['manifests:', ...definitions(MANIFEST_REFERENCES)],
    ['sizes:', ...definitions(SIZES)],
    ['environment:', ...definitions(ENVIRONMENT)],
    ['exit codes:', ...definitions(exitCodeRows())],
    ['examples:', ...exampleLines(OVERVIEW_EXAMPLES)],
    ['mover help COMMAND tells more of one; mover help --json-schema describes --json.'],
  ])
}

/** `mover help COMMAND`: synopsis, operands, options with units and defaults, examples. */
export function commandHelp(command: Command): string {
  const operands = Object.values(command.operands).filter(({ help }) => help !== '')
  return sections([
    [`mover ${command.name} - ${command.summary}`],
    synopsisLines(command),
    definitions(operands.map(({ label, help }) => [label, help])),
    ...command.notes.map(note => wrapWords(note, COLUMNS)),
    titled('options:', optionLines(command.options)),
    ['everywhere:', ...optionLines(EVERYWHERE_OPTIONS)],
    ['examples:', ...exampleLines(command.examples)],
  ])
}

const MANIFEST_REFERENCES: readonly Definition[] = [
  ['ID', 'an id as list and show print it; 4 or more of its first digits will do'],
  ['latest', 'the newest one of the volume, where there is only one volume'],
  ['full', 'the newest full one of the volume, where there is only one volume'],
  ['VOLUME@latest', 'the newest one of this volume; VOLUME@latest~1 the one before it'],
  ['VOLUME@full', 'the newest one of this volume that was made in full'],
]

const SIZES: readonly Definition[] = [
  ['BYTES', 'a number, or one with a unit: 512, 64KiB, 1.5GiB; K M G T count 1024, KB MB 1000'],
]

const ENVIRONMENT: readonly Definition[] = [
  ['MOVER_REPOSITORY', 'the repository, where no --repo is given'],
  ['MOVER_DEBUG', 'when it is 1, errors come with the place in the program they came from'],
]

const OVERVIEW_EXAMPLES: readonly Example[] = [
  { line: 'mover init /backup/vms', says: 'make a repository' },
  {
    line: 'mover backup /dev/vg0/vm42-snap --volume vm-42/sda --repo /backup/vms',
    says: 'back up a snapshot; from the second time on, only what differs is stored',
  },
  {
    line: 'mover restore vm-42/sda@latest /tmp/vm42.img --repo /backup/vms',
    says: 'write it back, to a new file',
  },
]

function exitCodeRows(): readonly Definition[] {
  return Object.entries(EXIT_CODES).map(([ending, code]) => [
    String(code),
    EXIT_MEANINGS[ending as Ending],
  ])
}

function synopsisLines({ name, operands, options }: Command): readonly string[] {
  const required = Object.entries(options).filter(([, spec]) => isValueSpec(spec) && spec.required)
  const words = [
    ...Object.values(operands).map(operandUsage),
    ...required.map(([option, spec]) => optionUsage(option, spec)),
    '[OPTION]...',
  ]
  return [`usage: mover ${name} ${words.join(' ')}`]
}

function operandUsage({ label, optional, many }: OperandSpec): string {
  if (many) return `[${label}]...`
  return optional ? `[${label}]` : label
}

function optionUsage(name: string, spec: OptionSpec): string {
  return isValueSpec(spec) ? `--${name} ${spec.value}` : `--${name}`
}

function optionLines(options: OptionTable): readonly string[] {
  return definitions(
    Object.entries(options).map(([name, spec]) => {
      const short = !isValueSpec(spec) && spec.short !== undefined ? `-${spec.short}, ` : ''
      return [short + optionUsage(name, spec), spec.help]
    }),
  )
}

function exampleLines(examples: readonly Example[]): readonly string[] {
  return examples.flatMap(({ line, says }) => [`${INDENT}$ ${line}`, `${INDENT}${INDENT}${says}`])
}

type Definition = readonly [term: string, meaning: string]

/** Terms in one column and meanings, wrapped, in another; a long term has a line of its own. */
function definitions(rows: readonly Definition[]): readonly string[] {
  const widest = Math.max(0, ...rows.map(([term]) => term.length))
  const width = Math.min(widest, 22)
  const hang = ' '.repeat(INDENT.length + width + 2)
  return rows.flatMap(([term, meaning]) => {
    const [first = '', ...rest] = wrapWords(meaning, COLUMNS - hang.length)
    const head = `${INDENT}${term.padEnd(width)}`
    const lines = rest.map(line => hang + line)
    return term.length > width ? [head, hang + first, ...lines] : [`${head}  ${first}`, ...lines]
  })
}

function titled(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [title, ...lines]
}

function sections(all: readonly (readonly string[])[]): string {
  const filled = all.filter(lines => lines.length > 0)
  return `${filled.map(lines => lines.join('\n')).join('\n\n')}\n`
}
