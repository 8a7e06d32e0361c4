import { MoverError } from '../core/errors.js'
import { defineCommand, type Command } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { commandOf } from './first-look.js'
import { commandHelp, overviewHelp } from './help.js'

export const helpCommand = defineCommand({
  name: 'help',
  summary: 'show the commands, or what there is to know of one',
  notes: [],
  operands: {
    words: { label: 'COMMAND', many: true, help: 'a command, as it is given; by default all' },
  },
  options: { 'json-schema': { help: 'print the JSON Schema of the lines that --json prints' } },
  examples: [
    { line: 'mover help backup', says: 'the same as mover backup --help' },
    {
      line: 'mover help --json-schema > mover.schema.json',
      says: 'for a program that reads --json',
    },
  ],
  whenCancelled: 'nothing was changed',

  async run({ options, operands, commands, print }) {
    if (options['json-schema']) {
      const { JSON_SCHEMA } = await import('./json-schema.js')
      await print(`${JSON.stringify(JSON_SCHEMA, null, 2)}\n`)
      return EXIT_CODES.done
    }
    const [word, ...rest] = operands.words
    if (word === undefined) {
      await print(overviewHelp(commands))
    } else {
      const command = commandOf(word, commands)
      checkRest(rest, command)
      await print(commandHelp(command))
    }
    return EXIT_CODES.done
  },
})

/** `mover help cbt status`: the help of a command tells of all its actions. */
function checkRest(words: readonly string[], { name, operands }: Command): void {
  const [action, surplus] = words
  const { choices } = Object.values(operands)[0] ?? {}
  if (action === undefined) return
  const remedy = `mover help ${name}`
  if (choices !== undefined && !choices.includes(action)) {
    const message = `'${action}' is none of ${choices.join(', ')}`
    throw new MoverError('ARGUMENT_INVALID', message, { remedy })
  }
  const extra = choices === undefined ? action : surplus
  if (extra === undefined) return
  throw new MoverError('ARGUMENT_INVALID', `'${extra}' is one word too many`, { remedy })
}
