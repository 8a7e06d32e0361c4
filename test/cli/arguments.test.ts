import t from 'tap'
import { parseArguments } from '../../src/cli/arguments.js'
import { EVERYWHERE_OPTIONS, isValueSpec, type OptionTable } from '../../src/cli/command.js'
import { COMMANDS } from '../../src/cli/commands.js'
import { commandOf } from '../../src/cli/first-look.js'
import { MoverError } from '../../src/core/errors.js'

function parse(words: readonly string[], name: string) {
  return parseArguments(words, { command: commandOf(name, COMMANDS), commands: COMMANDS })
}

const NOTHING_EVERYWHERE = {
  repo: undefined,
  json: false,
  quiet: false,
  help: false,
  version: false,
}

t.test('a line becomes options and operands', async t => {
  const rows = [
    { line: 'list', operands: { volume: undefined } },
    { line: 'list vm-42/sda', operands: { volume: 'vm-42/sda' } },
    {
      line: '--json list vm-42/sda',
      operands: { volume: 'vm-42/sda' },
      everywhere: { json: true },
    },
    { line: 'list -q --repo=r', operands: {}, everywhere: { quiet: true, repo: 'r' } },
    { line: '--repo r list', operands: {}, everywhere: { repo: 'r' } },
    { line: 'list -- --odd', operands: { volume: '--odd' } },
    { line: '-- list', operands: { volume: undefined } },
    { line: 'cat abc --range 1MiB+64KiB', options: { range: { offset: 1048576, length: 65536 } } },
    { line: 'restore abc -', operands: { manifest: 'abc', target: '-' } },
    { line: 'restore a b --force=exists --force in-use', options: { force: ['exists', 'in-use'] } },
    { line: 'restore a b', options: { force: [], onto: undefined, 'read-back': false } },
    { line: 'verify', operands: { manifests: [] } },
    { line: 'verify a --packs b', operands: { manifests: ['a', 'b'] }, options: { packs: true } },
    { line: 'diff a b', operands: { from: 'a', to: 'b' } },
    { line: 'init r --codec zstd:6', options: { codec: { codec: 'zstd', level: 6 } } },
    { line: 'init r --chunk=1MiB --pack 16MiB', options: { chunk: 1048576, pack: 16777216 } },
    {
      line: 'backup --tag a=1 src --volume v --tag b=x=y --rate 100MiB/s --workers 3',
      operands: { source: 'src' },
      options: {
        volume: 'v',
        tag: [
          ['a', '1'],
          ['b', 'x=y'],
        ],
        rate: 104857600,
        workers: 3,
        full: false,
      },
    },
    { line: 'backup s --volume=-v --audit off', options: { volume: '-v', audit: 'off' } },
    { line: 'backup s --volume - --full --full', options: { volume: '-', full: true } },
  ]
  for (const { line, operands = {}, options = {}, everywhere = {} } of rows) {
    const words = line.split(' ')
    const name = words.find(word => COMMANDS.some(command => command.name === word)) ?? ''
    const parsed = parse(words, name)
    t.match(parsed.operands, operands, line)
    t.match(parsed.options, options, line)
    t.same(parsed.everywhere, { ...NOTHING_EVERYWHERE, ...everywhere }, line)
  }
})

t.test('a wrong line is refused with what is wrong', async t => {
  const rows = [
    { line: 'backup s --volum v', says: 'there is no option --volum; did you mean --volume?' },
    { line: 'backup s --volume v -x', says: 'there is no option -x' },
    { line: 'backup s --volume v --codec lz4', says: 'there is no option --codec' },
    { line: 'backup s --constructor', says: 'there is no option --constructor' },
    { line: 'backup s', says: '--volume NAME is missing' },
    { line: 'backup --volume v', says: 'SOURCE is missing' },
    { line: 'backup s t --volume v', says: "'t' is one word too many" },
    { line: 'backup s --volume', says: '--volume needs a value: --volume=NAME' },
    { line: 'backup s --volume --full', says: "if '--full' is one, write --volume=--full" },
    { line: 'backup s --volume=', says: '--volume: the value is empty' },
    { line: 'backup s --volume a --volume b', says: '--volume is given twice' },
    { line: 'backup s --volume a --full=yes', says: '--full takes no value' },
    {
      line: 'backup s --volume a --workers 0',
      says: "--workers: '0' is not a whole number from 1",
    },
    { line: 'backup s --volume a --rate 1XB', says: "--rate: '1XB' is not a size" },
    { line: 'backup s --volume a --audit 101', says: "--audit: '101' is not an audit" },
    { line: 'backup s --volume a --tag x', says: "--tag: 'x' is not a tag" },
    { line: 'init r --codec gzip', says: "--codec: 'gzip' is not a codec" },
    { line: 'restore a b --force=all', says: "'all' is none of exists, in-use, identity" },
    { line: 'restore a b --force', says: '--force needs a value: --force=REASON' },
    { line: 'restore a', says: 'TARGET is missing' },
    { line: 'completion tcsh', says: "'tcsh' is none of bash, zsh, fish" },
    { line: 'diff a', says: 'TO is missing' },
  ]
  for (const { line, says } of rows) {
    const words = line.split(' ')
    const error = caught(() => parse(words, words[0] ?? ''))
    t.equal(error.code, 'ARGUMENT_INVALID', line)
    t.ok(error.message.includes(says), `${line}: ${error.message}`)
  }
})

t.test('an empty operand is refused', async t => {
  t.equal(caught(() => parse(['backup', '', '--volume', 'v'], 'backup')).message, 'SOURCE is empty')
})

t.test('an option means one thing in all commands', async t => {
  // The line is cut into words before the command is known: an option may not take a value in one
  // command and none in another.
  const takesValue = new Map<string, boolean>()
  const tables: OptionTable[] = [EVERYWHERE_OPTIONS, ...COMMANDS.map(({ options }) => options)]
  for (const table of tables) {
    for (const [name, spec] of Object.entries(table)) {
      t.equal(isValueSpec(spec), takesValue.get(name) ?? isValueSpec(spec), `--${name}`)
      takesValue.set(name, isValueSpec(spec))
    }
  }
})

t.test('only the last operand may be many, and none follows an optional one', async t => {
  for (const { name, operands } of COMMANDS) {
    const specs = Object.values(operands)
    specs.slice(0, -1).forEach(spec => t.notOk(spec.many || spec.optional, name))
  }
})

function caught(body: () => unknown): MoverError {
  try {
    body()
  } catch (error) {
    if (error instanceof MoverError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
