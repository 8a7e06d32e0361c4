import t from 'tap'
import { main } from '../../src/cli/main.js'
import { fakeIo } from './fake-io.js'

t.test('what needs no command is answered', async t => {
  const rows = [
    { argv: ['--version'], code: 0, stdout: /^mover \d+\.\d+\.\d+\n$/, stderr: /^$/ },
    { argv: ['--help'], code: 0, stdout: /exit codes:/, stderr: /^$/ },
    { argv: ['help'], code: 0, stdout: /exit codes:/, stderr: /^$/ },
    { argv: ['help', 'diff'], code: 0, stdout: /^mover diff - /, stderr: /^$/ },
    { argv: ['help', 'cbt', 'status'], code: 0, stdout: /^mover cbt - /, stderr: /^$/ },
    { argv: ['help', 'cbt', 'x'], code: 2, stdout: /^$/, stderr: /'x' is none of status/ },
    { argv: ['help', 'cbt', 'status', 'x'], code: 2, stdout: /^$/, stderr: /one word too many/ },
    { argv: ['help', 'diff', 'x'], code: 2, stdout: /^$/, stderr: /'x' is one word too many/ },
    { argv: ['diff', '--help'], code: 0, stdout: /^mover diff - /, stderr: /^$/ },
    { argv: ['help', '--json-schema'], code: 0, stdout: /^{\n {2}"\$schema"/, stderr: /^$/ },
    { argv: ['completion', 'bash'], code: 0, stdout: /complete -F _mover mover/, stderr: /^$/ },
    { argv: [], code: 2, stdout: /^$/, stderr: /exit codes:/ },
    { argv: ['bakup'], code: 2, stdout: /^$/, stderr: /did you mean backup\?\n {2}try: / },
    { argv: ['help', 'bakup'], code: 2, stdout: /^$/, stderr: /did you mean backup\?/ },
    {
      argv: ['list', '-x'],
      code: 2,
      stdout: /^$/,
      stderr: /^mover: list: .*-x\n {2}try: mover list --help\n$/,
    },
    {
      argv: ['list'],
      code: 2,
      stdout: /^$/,
      stderr: /try: add --repo REPOSITORY, or set MOVER_REPOSITORY/,
    },
    {
      argv: ['restore', 'a', '-', '--dry-run'],
      code: 2,
      stdout: /^$/,
      stderr: /--dry-run means nothing for stdout/,
    },
    {
      argv: ['backup', 's', '--volume=v', '--full', '--parent=x'],
      code: 2,
      stdout: /^$/,
      stderr: /--parent contradicts it/,
    },
    {
      argv: ['backup', 's', '--volume=v', '--tag=a=1', '--tag=a=2'],
      code: 2,
      stdout: /^$/,
      stderr: /--tag a is given twice/,
    },
    { argv: ['verify', '--packs', '--independent'], code: 2, stdout: /^$/, stderr: /contradicts/ },
  ]
  for (const { argv, code, stdout, stderr } of rows) {
    const io = fakeIo()
    t.equal(await main(argv, io), code, argv.join(' '))
    t.match(io.stdout.text, stdout, argv.join(' '))
    t.match(io.stderr.text, stderr, argv.join(' '))
  }
})

t.test('with --json even a wrong line ends in a line of JSON', async t => {
  for (const argv of [
    ['--json'],
    ['bakup', '--json'],
    ['list', '--json'],
    ['backup', '--volume', '--json'],
  ]) {
    const io = fakeIo()
    t.equal(await main(argv, io), 2)
    t.equal(io.stdout.lines.length, 1)
    t.match(JSON.parse(io.stdout.text), { type: 'error', code: 'ARGUMENT_INVALID', stage: null })
    t.equal(io.stderr.text, '')
  }
})

t.test('a volume is not written to a terminal', async t => {
  const io = fakeIo({ isTerminal: true, environment: { MOVER_REPOSITORY: '/none' } })
  t.equal(await main(['cat', 'latest'], io), 3)
  t.match(io.stderr.text, /stdout is a terminal/)
})

t.test('as stdout holds a volume, the words of cat go to stderr', async t => {
  const io = fakeIo()
  t.equal(await main(['cat', 'latest', '--json'], io), 2)
  t.equal(io.stdout.text, '')
  t.match(JSON.parse(io.stderr.text), { type: 'error', code: 'ARGUMENT_INVALID' })
})

t.test('nothing stays behind that listens', async t => {
  const io = fakeIo()
  await main(['--help'], io)
  t.strictSame(io.host.eventNames(), [])
  t.strictSame(io.stdout.eventNames(), [])
  t.strictSame(io.stderr.eventNames(), [])
})

t.test('debugging shows where an error came from', async t => {
  const io = fakeIo({ environment: { MOVER_DEBUG: '1' } })
  await main(['list'], io)
  t.match(io.stderr.text, /repository-of/)
})
