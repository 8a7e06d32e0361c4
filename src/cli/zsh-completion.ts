import type { Command } from './command.js'
import {
  EVERYWHERE,
  operandValues,
  ownOptions,
  type CompletedOption,
  type CompletedValue,
} from './completion-words.js'

/** A script for zsh's completion system, to be found as `_mover` in a folder of fpath. */
export function zshCompletion(commands: readonly Command[]): string {
  return `#compdef mover
_mover() {
  local curcontext=$curcontext state line
  local -a commands everywhere
  commands=(
${commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}\n`).join('')}  )
  everywhere=(
${EVERYWHERE.map(option => `    ${optionSpec(option)}\n`).join('')}  )
  _arguments -C $everywhere '1:command:->command' '*::operand:->operand'
  case $state in
    command) _describe command commands ;;
    operand)
      case $line[1] in
${commands.map(command => commandCase(command, commands)).join('')}      esac
      ;;
  esac
}
_mover "$@"
`
}

function commandCase(command: Command, commands: readonly Command[]): string {
  const many = Object.values(command.operands).map(({ many }) => many === true)
  const operands = operandValues(command, commands).map((value, position) =>
    quoted(`${many[position] ? '*' : position + 1}:${escaped(value.label)}:${action(value)}`),
  )
  const words = [...ownOptions(command).map(optionSpec), ...operands]
  const lines = words.map(word => ` \\\n            ${word}`).join('')
  return `        ${command.name})
          _arguments $everywhere${lines}
          ;;
`
}

function optionSpec({ name, short, help, value }: CompletedOption): string {
  const says = `[${escaped(help)}]`
  if (value !== null) return quoted(`*--${name}=${says}:${escaped(value.label)}:${action(value)}`)
  const long = quoted(`--${name}${says}`)
  return short === null ? long : `${long} ${quoted(`-${short}${says}`)}`
}

function action({ choices, files }: CompletedValue): string {
  if (choices.length > 0) return `(${choices.join(' ')})`
  return files === null ? ' ' : files === 'file' ? '_files' : '_files -/'
}

/** Colons and brackets mean something inside a spec of _arguments. */
function escaped(text: string): string {
  return text.replace(/[[\]:\\]/g, '\\$&')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
