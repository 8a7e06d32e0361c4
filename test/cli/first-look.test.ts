import t from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { asksForJson, lookAt } from '../../src/cli/first-look.js'

t.test('the command is found wherever it stands', async t => {
  const rows = [
    { line: ['backup', '--help'], command: 'backup', isHelp: true, isVersion: false },
    { line: ['--help', 'backup'], command: 'backup', isHelp: true, isVersion: false },
    { line: ['-h'], command: null, isHelp: true, isVersion: false },
    { line: ['-qh', 'list'], command: 'list', isHelp: true, isVersion: false },
    { line: ['--repo', 'list', 'verify'], command: 'verify', isHelp: false, isVersion: false },
    { line: ['--version', 'nonsense'], command: null, isHelp: false, isVersion: true },
    { line: [], command: null, isHelp: false, isVersion: false },
    { line: ['list', '--', '--help'], command: 'list', isHelp: false, isVersion: false },
  ]
  for (const { line, command, ...rest } of rows) {
    const look = lookAt(line, COMMANDS)
    t.same({ ...look, command: look.command?.name ?? null }, { command, ...rest }, line.join(' '))
  }
})

t.test('a word that is no command is refused with its neighbour', async t => {
  t.throws(() => lookAt(['bakup', '--help'], COMMANDS), {
    code: 'ARGUMENT_INVALID',
    message: "there is no command 'bakup'; did you mean backup?",
  })
})

t.test('JSON is asked for even on a line that makes no sense', async t => {
  t.equal(asksForJson(['nonsense', '--json'], COMMANDS), true)
  t.equal(asksForJson(['backup', '--volume', '--json'], COMMANDS), true)
  t.equal(asksForJson(['list', '--', '--json'], COMMANDS), false)
  t.equal(asksForJson(['backup', '--volume=--json'], COMMANDS), false)
})
