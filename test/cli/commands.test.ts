/** Every command once, against a real repository: its exit code, its words, and each of its lines. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { JSON_SCHEMA } from '../../src/cli/json-schema.js'
import { main } from '../../src/cli/main.js'
import { fakeIo } from './fake-io.js'
import { misfits } from './json-schema-check.js'

const KiB = 1024
const folder = t.testdir()
const repository = `${folder}/repository`
const source = `${folder}/source.img`
const environment = { MOVER_REPOSITORY: repository }

interface Line extends Record<string, unknown> {
  readonly type?: string
}

interface Ran {
  readonly code: number
  readonly lines: readonly Line[]
  readonly last: Line
}

/** Runs a command with --json; every line it prints must fit the schema. */
async function run(t: Test, ...argv: string[]): Promise<Ran> {
  const io = fakeIo({ environment })
  const code = await main([...argv, '--json'], io)
  t.equal(io.stderr.text, '', 'says nothing on stderr')
  const lines = io.stdout.lines.map(line => JSON.parse(line) as Line)
  for (const line of lines) t.strictSame(misfits(line, JSON_SCHEMA, JSON_SCHEMA), [])
  return { code, lines, last: lines.at(-1) ?? {} }
}

/** Runs a command for a person. */
async function say(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const io = fakeIo({ environment })
  const code = await main(argv, io)
  return { code, stdout: io.stdout.text, stderr: io.stderr.text }
}

/** Slots of 64 KiB: letters are data of that letter, '.' is zero. */
function writeVolume(slots: string): void {
  const parts = [...slots].map(slot => Buffer.alloc(64 * KiB, slot === '.' ? 0 : slot))
  writeFileSync(source, Buffer.concat(parts))
}

t.test('init makes a repository, once', async t => {
  const { code, last } = await run(t, 'init', repository, '--codec', 'zstd:5')
  t.equal(code, 0)
  t.match(last, {
    type: 'result',
    operation: 'init',
    codec: 'zstd',
    level: 5,
    chunkBytes: 64 * KiB,
  })
  const again = await run(t, 'init', repository)
  t.equal(again.code, 3)
  t.match(again.last, { type: 'error', code: 'REPOSITORY_EXISTS' })
})

t.test('backup goes in full, then by what changed', async t => {
  writeVolume('aabb..cc')
  const full = await run(
    t,
    'backup',
    source,
    '--volume',
    'v',
    '--checkpoint',
    'one',
    '--tag',
    'a=b',
  )
  t.equal(full.code, 0)
  t.match(full.last, {
    operation: 'backup',
    mode: 'full',
    checkpoint: 'one',
    bytes: { zero: 128 * KiB },
  })
  t.ok(full.lines.some(({ type }) => type === 'stage'))

  writeVolume('axbb..c.')
  writeFileSync(
    `${folder}/changes`,
    '{"offset":65536,"length":65536,"state":"data"}\n{"offset":458752,"length":65536,"state":"data"}\n{"end":true,"extents":2}\n',
  )
  const changes = `extents:${folder}/changes,since=one`
  const dry = await run(t, 'backup', source, '--volume', 'v', '--changes', changes, '--dry-run')
  t.match(dry.last, { manifest: null, dryRun: true, mode: 'incremental' })
  const next = await run(t, 'backup', source, '--volume', 'v', '--changes', changes)
  t.equal(next.code, 0)
  t.match(next.last, { mode: 'incremental', requested: 'incremental', bytes: { read: 128 * KiB } })

  const unpinned = `extents:${folder}/changes`
  const refused = await run(t, 'backup', source, '--volume', 'v', '--changes', unpinned)
  t.equal(refused.code, 3)
  t.match(refused.last, { type: 'error', code: 'CHANGES_UNPINNED' })
})

t.test('a fallback is an event, and the reason stands in the result', async t => {
  const changes = `extents:${folder}/changes,since=nothing`
  const { lines, last } = await run(t, 'backup', source, '--volume', 'v', '--changes', changes)
  t.match(last, { mode: 'rescan', requested: 'incremental', reason: 'lineage' })
  t.match(
    lines.find(({ type }) => type === 'fallback'),
    { mode: 'rescan', reason: 'lineage' },
  )
  const { stderr } = await say('backup', source, '--volume', 'v', '--changes', changes, '--quiet')
  t.match(stderr, /^mover: backup: .*rescan/)
})

t.test('list and show tell what there is', async t => {
  const { code, lines, last } = await run(t, 'list')
  t.equal(code, 0)
  t.match(last, { type: 'result', operation: 'list', manifests: 4 })
  t.equal(lines.length, 5)
  const ids = (await say('list', 'v', '--quiet')).stdout.trim().split('\n')
  t.strictSame(
    ids,
    lines.slice(0, -1).map(({ id }) => id),
  )
  t.equal((await say('list', 'no such volume')).stdout, 'no manifests\n')

  const shown = await run(t, 'show', 'v@latest~2', '--map')
  t.match(shown.last, { type: 'result', operation: 'show', mode: 'incremental' })
  const extents = shown.lines.filter(({ type }) => type === 'extent')
  t.match(extents, [
    { offset: 0, length: 64 * KiB, state: 'data', changed: false },
    { offset: 64 * KiB, length: 64 * KiB, state: 'data', changed: true },
    { offset: 128 * KiB, length: 128 * KiB, state: 'data', changed: false },
    { offset: 256 * KiB, length: 128 * KiB, state: 'zero', changed: false },
    { offset: 384 * KiB, length: 64 * KiB, state: 'data', changed: false },
    { offset: 448 * KiB, length: 64 * KiB, state: 'zero', changed: true },
  ])
  t.match((await say('show', 'v@latest~2', '--map')).stdout, /0 B {2}#!##\.\.#0\n/)
})

t.test('diff prints what --changes takes', async t => {
  const { code, lines } = await run(t, 'diff', 'v@latest~3', 'v@latest~2')
  t.equal(code, 0)
  t.strictSame(lines, [
    { offset: 64 * KiB, length: 64 * KiB, state: 'data' },
    { offset: 448 * KiB, length: 64 * KiB, state: 'data' },
    { end: true, extents: 2 },
  ])
  t.match((await say('diff', 'latest', 'latest')).stdout, /^no difference\n$/)
})

t.test('cat writes the bytes asked for, and its words elsewhere', async t => {
  const path = `${folder}/cat`
  const stdoutDescriptor = openSync(path, 'w')
  const io = fakeIo({ environment, stdoutDescriptor })
  t.equal(await main(['cat', 'latest', '--range', '63KiB+2KiB', '--json'], io), 0)
  closeSync(stdoutDescriptor)
  t.equal(io.stdout.text, '')
  t.match(JSON.parse(io.stderr.lines.at(-1) ?? ''), { operation: 'cat', bytes: 2048 })
  t.equal(readFileSync(path, 'latin1'), 'a'.repeat(1024) + 'x'.repeat(1024))
})

t.test('restore makes a file, and no second time', async t => {
  const target = `${folder}/target.img`
  const { code, last } = await run(t, 'restore', 'v@latest', target, '--read-back')
  t.equal(code, 0)
  t.match(last, { operation: 'restore', readBack: true, bytes: { volume: 512 * KiB } })
  t.ok(readFileSync(target).equals(readFileSync(source)))
  const again = await run(t, 'restore', 'v@latest', target)
  t.equal(again.code, 3)
  t.match(again.last, { code: 'TARGET_EXISTS', remedy: /--force=exists/ })
  const back = ['restore', 'v@full', target, '--onto', 'v@latest', '--force=exists']
  t.match((await say(...back)).stdout, /^volume .*\nmanifest .*\ntarget /)
})

t.test('verify and rebuild-index find all well', async t => {
  for (const argv of [
    ['verify'],
    ['verify', 'latest'],
    ['verify', '--packs'],
    ['verify', '--independent'],
    ['rebuild-index'],
    ['verify'],
  ]) {
    const { code, last } = await run(t, ...argv)
    t.equal(code, 0, argv.join(' '))
    t.match(last, { type: 'result', damage: [] })
  }
})

t.test('what cannot be is refused with its own code', async t => {
  const rows = [
    { argv: ['backup', `${folder}/missing`, '--volume', 'v'], code: 4, error: 'SOURCE_UNUSABLE' },
    { argv: ['show', 'feedfeed'], code: 3, error: 'MANIFEST_NOT_FOUND' },
    { argv: ['list', '--repo', `${folder}/none`], code: 5, error: 'REPOSITORY_NOT_FOUND' },
    { argv: ['cat', 'latest', '--range', '0+1GiB'], code: 2, error: 'ARGUMENT_INVALID' },
  ]
  for (const { argv, code, error } of rows) {
    const io = fakeIo({ environment })
    t.equal(await main([...argv, '--json'], io), code, argv.join(' '))
    const line = `${io.stdout.text}${io.stderr.text}`.trim().split('\n').at(-1) ?? ''
    t.match(JSON.parse(line), { type: 'error', code: error })
  }
})
