import type { Command } from './command.js'
import {
  EVERYWHERE,
  operandValues,
  ownOptions,
  type CompletedOption,
  type CompletedValue,
} from './completion-words.js'

/** A script for bash 4 or later, sourced or put into its folder of completions. */
export function bashCompletion(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name).join(' ')
  return `# bash completion for mover
_mover() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local command= word index words= files=
  # Readline makes three words of --force=exists.
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case $word in
      ${valueOptions(commands).join('|')})
        [[ \${COMP_WORDS[index+1]} == = ]] && ((index++))
        ((index++))
        ;;
      -* | =) ;;
      *)
        command=$word
        break
        ;;
    esac
  done
  case $command:$previous in
${[optionCases('*', EVERYWHERE), ...commands.map(command => optionCases(command.name, ownOptions(command)))].join('')}    :*) words='${names} ${optionWords(EVERYWHERE)}' ;;
${commands.map(command => operandCase(command, commands)).join('')}  esac
  mapfile -t COMPREPLY < <(
    compgen -W "$words" -- "$current"
    [[ $files == file ]] && compgen -f -- "$current"
    [[ $files == folder ]] && compgen -d -- "$current"
  )
  [[ -n $files ]] && compopt -o filenames 2> /dev/null
  return 0
}
complete -F _mover mover
`
}

function valueOptions(commands: readonly Command[]): readonly string[] {
  const all = [...EVERYWHERE, ...commands.flatMap(ownOptions)]
  return [...new Set(all.filter(({ value }) => value !== null).map(({ name }) => `--${name}`))]
}

/** After an option that takes a value, only values are offered, or nothing. */
function optionCases(command: string, options: readonly CompletedOption[]): string {
  return options
    .map(({ name, value }) =>
      value === null ? '' : `    ${command}:--${name}) ${assignments(value, '')} ;;\n`,
    )
    .join('')
}

function operandCase(command: Command, commands: readonly Command[]): string {
  const values = operandValues(command, commands)
  const value = {
    label: '',
    choices: values.flatMap(({ choices }) => choices),
    files: values.find(({ files }) => files !== null)?.files ?? null,
  }
  const options = optionWords([...ownOptions(command), ...EVERYWHERE])
  return `    ${command.name}:*) ${assignments(value, options)} ;;\n`
}

function assignments({ choices, files }: CompletedValue, options: string): string {
  const words = [...choices, ...(options === '' ? [] : [options])].join(' ')
  return `words='${words}' files=${files ?? ''}`
}

function optionWords(options: readonly CompletedOption[]): string {
  return options.map(({ name }) => `--${name}`).join(' ')
}
