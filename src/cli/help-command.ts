import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { commandOf } from './first-look.js'
import { commandHelp, overviewHelp } from './help.js'

export const helpCommand = defineCommand({
  name: 'help',
  summary: 'show the commands, or what there is to know of one',
  notes: [],
  operands: { command: { label: 'COMMAND', optional: true, help: 'a command; by default all' } },
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
    } else if (operands.command === undefined) {
      await print(overviewHelp(commands))
    } else {
      await print(commandHelp(commandOf(operands.command, commands)))
    }
    return EXIT_CODES.done
  },
})
