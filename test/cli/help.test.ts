import t from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { EXIT_CODES, EXIT_MEANINGS, type Ending } from '../../src/cli/exit-codes.js'
import { commandHelp, overviewHelp } from '../../src/cli/help.js'

for (const command of COMMANDS) {
  t.test(`the help of ${command.name} says everything`, async t => {
    const help = commandHelp(command)
    const lines = help.split('\n')
    t.ok(help.includes(`usage: mover ${command.name}`), 'has a synopsis')
    t.ok(command.examples.length > 0, 'has examples')
    for (const { line, says } of command.examples) {
      t.ok(help.includes(`  $ ${line}\n`), line)
      t.ok(help.includes(says), says)
      t.ok(line.includes('mover'), 'an example is a command line of mover')
    }
    for (const name of Object.keys(command.options)) t.ok(help.includes(`  --${name}`), `--${name}`)
    for (const { label } of Object.values(command.operands)) t.ok(help.includes(label), label)
    const tooLong = lines.filter(line => line.length > 80 && !line.startsWith('  $'))
    t.same(
      tooLong.filter(line => !line.includes('--changes')),
      [],
      'fits 80 columns',
    )
    t.same(
      lines.filter(line => line !== line.trimEnd()),
      [],
      'no line ends in blanks',
    )
    t.notMatch(command.summary, /\.$/, 'a summary is half a sentence')
    t.notMatch(command.whenCancelled, /\.$/)
  })
}

t.test('the overview lists commands and exit codes', async t => {
  const help = overviewHelp(COMMANDS)
  for (const { name, summary } of COMMANDS) {
    t.ok(help.includes(name))
    t.ok(help.includes(summary))
  }
  for (const [ending, code] of Object.entries(EXIT_CODES)) {
    t.ok(help.includes(`  ${code}  ${EXIT_MEANINGS[ending as Ending]}`), `exit code ${code}`)
  }
  for (const word of ['MOVER_REPOSITORY', '--repo', '--json', '--quiet', 'VOLUME@latest']) {
    t.ok(help.includes(word), word)
  }
})

t.test('every example is a line that the parser takes', async t => {
  const { parseArguments } = await import('../../src/cli/arguments.js')
  for (const command of COMMANDS) {
    for (const { line } of command.examples) {
      const own = line.replace(/^.*?mover /, '').replace(/\s*(\||>|&&|\)).*$/, '')
      const argv = own.replaceAll('\\\n', '').split(/\s+/)
      t.doesNotThrow(() => parseArguments(argv, { command, commands: COMMANDS }), line)
    }
  }
})
