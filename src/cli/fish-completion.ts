import type { Command } from './command.js'
import {
  EVERYWHERE,
  operandValues,
  ownOptions,
  type CompletedOption,
  type CompletedValue,
} from './completion-words.js'

/** A script for fish, one `complete` a line. */
export function fishCompletion(commands: readonly Command[]): string {
  const lines = [
    '# fish completion for mover',
    'complete -c mover -f',
    ...commands.map(
      ({ name, summary }) =>
        `complete -c mover -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ),
    ...EVERYWHERE.map(option => `complete -c mover ${optionWords(option)}`),
    ...commands.flatMap(command => commandLines(command, commands)),
  ]
  return `${lines.join('\n')}\n`
}

function commandLines(command: Command, commands: readonly Command[]): readonly string[] {
  const head = `complete -c mover -n '__fish_seen_subcommand_from ${command.name}'`
  const operands = operandValues(command, commands)
  return [
    ...ownOptions(command).map(option => `${head} ${optionWords(option)}`),
    ...operands.map(valueWords).flatMap(words => (words === '' ? [] : [`${head}${words}`])),
  ]
}

function optionWords({ name, short, help, value }: CompletedOption): string {
  const letter = short === null ? '' : `-s ${short} `
  const says = `-d ${quoted(help)}`
  return value === null
    ? `${letter}-l ${name} ${says}`
    : `${letter}-l ${name} -r${valueWords(value)} ${says}`
}

function valueWords({ choices, files }: CompletedValue): string {
  if (choices.length > 0) return ` -a ${quoted(choices.join(' '))}`
  if (files === 'folder') return ` -a '(__fish_complete_directories)'`
  return files === 'file' ? ' -F' : ''
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}
