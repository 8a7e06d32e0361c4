import { bashCompletion } from './bash-completion.js'
import { defineCommand, type Command } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { fishCompletion } from './fish-completion.js'
import { zshCompletion } from './zsh-completion.js'

/** A script for each shell, made from the same tables that parse the command line. */
export const COMPLETIONS: Readonly<Record<string, (commands: readonly Command[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
}

export const completionCommand = defineCommand({
  name: 'completion',
  summary: 'print a script that completes mover in a shell',
  notes: [],
  operands: {
    shell: { label: 'SHELL', choices: Object.keys(COMPLETIONS), help: 'bash, zsh or fish' },
  },
  options: {},
  examples: [
    { line: 'source <(mover completion bash)', says: 'in ~/.bashrc' },
    { line: 'mover completion zsh > "$fpath[1]/_mover"', says: 'once, for zsh' },
    {
      line: 'mover completion fish > ~/.config/fish/completions/mover.fish',
      says: 'once, for fish',
    },
  ],
  whenCancelled: 'nothing was changed',

  async run({ operands, commands, print }) {
    await print(COMPLETIONS[operands.shell]?.(commands) ?? '')
    return EXIT_CODES.done
  },
})
