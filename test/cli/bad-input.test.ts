/** Bad input gets a message that says what and what to do, the right exit code, and changes nothing. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { sealRecord } from '../../src/backend/sealed-record.js'
import { runMover, runMoverJson } from '../support/run-mover.js'
import { makeVolume, MiB } from '../support/volumes.js'

const folder = t.testdir()
const repository = join(folder, 'r')
const source = join(folder, 'v.img')
const map = join(folder, 'map')

/** Names, sizes and bytes of all that a repository holds. */
async function fingerprint(path: string): Promise<string> {
  const hash = createHash('sha256')
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  for (const { parentPath, name } of entries.toSorted((a, b) =>
    join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1,
  )) {
    const file = join(parentPath, name)
    hash.update(`${file}\n`)
    if ((await stat(file)).isFile()) hash.update(await readFile(file))
  }
  return hash.digest('hex')
}

t.before(async () => {
  await makeVolume(source, { bytes: 2 * MiB, seed: 1 })
  await runMover(['init', repository])
  await runMover(['backup', source, '--volume', 'v', '--checkpoint', 'one'], { repository })
})

interface Row {
  readonly name: string
  readonly args: readonly string[]
  readonly code: number
  readonly error: string
  readonly says: RegExp
  readonly map?: string | Uint8Array
}

const since = ['--changes', `extents:${map},since=one`]
const rows: readonly Row[] = [
  {
    name: 'a source that is not there',
    args: ['backup', join(folder, 'none'), '--volume', 'v'],
    code: 4,
    error: 'SOURCE_UNUSABLE',
    says: /none.*found/,
  },
  {
    name: 'a folder as source',
    args: ['backup', folder, '--volume', 'v'],
    code: 4,
    error: 'SOURCE_UNUSABLE',
    says: /neither a regular file nor a block device/,
  },
  {
    name: 'a character device as source',
    args: ['backup', '/dev/zero', '--volume', 'v'],
    code: 4,
    error: 'SOURCE_UNUSABLE',
    says: /neither a regular file nor a block device/,
  },
  {
    name: 'an unknown codec',
    args: ['init', join(folder, 'other'), '--codec', 'gzip'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /lz4/,
  },
  {
    name: 'a level that zstd has not',
    args: ['init', join(folder, 'other'), '--codec', 'zstd:99'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /19/,
  },
  {
    name: 'a chunk size that is none',
    args: ['init', join(folder, 'other'), '--chunk', '100KiB'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /power of two/,
  },
  {
    name: 'a repository where there is one',
    args: ['init', repository],
    code: 3,
    error: 'REPOSITORY_EXISTS',
    says: /r/,
  },
  {
    name: 'an unknown manifest',
    args: ['restore', 'beef00', join(folder, 'out')],
    code: 3,
    error: 'MANIFEST_NOT_FOUND',
    says: /beef00/,
  },
  {
    name: 'a target that is a folder',
    args: ['restore', 'v@latest', folder],
    code: 6,
    error: 'TARGET_UNUSABLE',
    says: /neither a file nor a block device/,
  },
  {
    name: 'a target in no folder',
    args: ['restore', 'v@latest', join(folder, 'no', 'out')],
    code: 6,
    error: 'TARGET_UNUSABLE',
    says: /not there/,
  },
  {
    name: 'a target that is there',
    args: ['restore', 'v@latest', source],
    code: 3,
    error: 'TARGET_EXISTS',
    says: /exists/,
  },
  {
    name: 'a name of a volume that no manifest can carry',
    args: ['backup', source, '--volume', 'v'.repeat(1025)],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /name of a volume is 1 to 1024 bytes/,
  },
  {
    name: 'a checkpoint that no manifest can carry',
    args: ['backup', source, '--volume', 'v', '--checkpoint', 'c'.repeat(1025)],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /name of a checkpoint is 1 to 1024 bytes/,
  },
  {
    name: 'a tag that no manifest can carry',
    args: ['backup', source, '--volume', 'v', '--tag', `t=${'x'.repeat(1025)}`],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /tags are at most 64/,
  },
  {
    name: 'an empty repository, as an unset variable gives',
    args: ['list', '--repo', ''],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /--repo: the value is empty/,
  },
  {
    name: 'a path that is not UTF-8',
    args: ['restore', 'v@latest', join(folder, 'o\uFFFDut')],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /not UTF-8/,
  },
  {
    name: 'a rate whose unit was forgotten',
    args: ['backup', source, '--volume', 'v', '--rate', '5'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /5 bytes a second/,
  },
  {
    name: 'a volume where a manifest is meant',
    args: ['show', 'v'],
    code: 3,
    error: 'MANIFEST_NOT_FOUND',
    says: /'v' is a volume/,
  },
  {
    name: 'more workers than any machine has cores',
    args: ['backup', source, '--volume', 'v', '--workers', '100000'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /100000 worker threads/,
  },
  {
    name: 'too little memory',
    args: ['verify', '--in-flight', '8MiB'],
    code: 2,
    error: 'ARGUMENT_INVALID',
    says: /bytes in flight/,
  },
  {
    name: 'changes that are pinned to nothing',
    args: ['backup', source, '--volume', 'v', '--changes', `extents:${map}`],
    map: '[]',
    code: 3,
    error: 'CHANGES_UNPINNED',
    says: /pinned/,
  },
  {
    name: 'changes pinned to the latest',
    args: ['backup', source, '--volume', 'v', '--changes', `extents:${map}`, '--parent', 'latest'],
    map: '[]',
    code: 3,
    error: 'CHANGES_UNPINNED',
    says: /latest/,
  },
  ...[
    { name: 'an empty changes file', map: '' },
    { name: 'a changes file of garbage', map: new Uint8Array(5000).fill(0xa5) },
    { name: 'a changes file that was cut', map: '{"offset":0,"length":65536,"state":"data"}\n' },
    { name: 'a changes file whose end counts wrongly', map: '{"end":true,"extents":1}\n' },
    {
      name: 'extents beyond the volume',
      map: '[{"offset":0,"length":9007199254740991,"type":1,"description":"dirty"}]',
    },
    {
      name: 'a map that does not cover the volume',
      map: '[{"offset":0,"length":65536,"type":1,"description":"dirty"}]',
    },
    {
      name: 'an allocation map given as changes',
      map: `[{"offset":0,"length":${2 * MiB},"type":0,"description":"data"}]`,
    },
  ].map(({ name, map }) => ({
    name,
    map,
    args: ['backup', source, '--volume', 'v', ...since],
    code: 3,
    error: 'CHANGES_MALFORMED',
    says: /./,
  })),
  {
    name: 'a bitmap of another length',
    args: [
      'backup',
      source,
      '--volume',
      'v',
      '--changes',
      `bitmap:${map},granularity=64KiB,since=one`,
    ],
    map: new Uint8Array(5),
    code: 3,
    error: 'CHANGES_MALFORMED',
    says: /has 5 bytes and does not fit/,
  },
  {
    name: 'a changes file that is not there',
    args: ['backup', source, '--volume', 'v', '--changes', 'extents:/none/map,since=one'],
    code: 4,
    error: 'CHANGES_FAILED',
    says: /none/,
  },
]

for (const row of rows) {
  t.test(`${row.name} is refused and changes nothing`, async t => {
    if (row.map !== undefined) await writeFile(map, row.map)
    const before = await fingerprint(repository)
    const { code, error } = await runMoverJson(row.args, { repository })
    t.strictSame({ code, error: error?.['code'] }, { code: row.code, error: row.error })
    t.match(String(error?.['message']), row.says)
    t.equal(await fingerprint(repository), before)
  })
}

t.test('a range beyond the volume is refused', async t => {
  const { code, stdout, stderr } = await runMover(['cat', 'v@latest', '--range', '1MiB+2MiB'], {
    repository,
  })
  t.strictSame({ code, stdout }, { code: 2, stdout: '' })
  t.match(stderr, /not within the volume/)
})

t.test('what is no repository is said to be none', async t => {
  const none = t.testdir({ 'a file': 'of somebody else' })
  const { code, error } = await runMoverJson(['list'], { repository: none })
  t.strictSame({ code, error: error?.['code'] }, { code: 5, error: 'REPOSITORY_NOT_FOUND' })
  t.match(String(error?.['remedy']), /mover init/)
  const { code: initCode } = await runMoverJson(['init', none])
  t.equal(initCode, 3, 'a folder with files in it is not made a repository')
})

t.test('a repository of a newer mover is left alone', async t => {
  const newer = join(t.testdir(), 'r')
  await cp(repository, newer, { recursive: true })
  const config = {
    magic: 'MOVRCONF',
    context: 'mover 1 config',
    corrupt: 'CONFIG_CORRUPT',
  } as const
  await writeFile(
    join(newer, 'config', '2'),
    sealRecord(config, { format: 2, features: { read: ['x'], write: [] } }),
  )
  const { code, error } = await runMoverJson(['backup', source, '--volume', 'v'], {
    repository: newer,
  })
  t.strictSame({ code, error: error?.['code'] }, { code: 5, error: 'REPOSITORY_UNSUPPORTED' })
  t.match(String(error?.['message']), /newer/)
})

t.test('a source that may not be read is a source error', async t => {
  if (process.getuid?.() !== 0) return t.comment('only root can become nobody here')
  const place = t.testdir()
  const secret = join(place, 'secret.img')
  await writeFile(secret, 'x')
  await chmod(secret, 0o600)
  const mine = join(place, 'r')
  await mkdir(mine)
  for (let path = place; path !== '/'; path = join(path, '..')) {
    if ((Number((await stat(path)).mode) & 0o005) !== 0o005) await chmod(path, 0o755)
  }
  await chmod(mine, 0o777)
  const under = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
  t.equal((await runMoverJson(['init', join(mine, 'x')], { under })).code, 0)
  const { code, error } = await runMoverJson(['backup', secret, '--volume', 'v'], {
    under,
    repository: join(mine, 'x'),
  })
  t.strictSame({ code, error: error?.['code'] }, { code: 4, error: 'SOURCE_UNUSABLE' })
  await rm(mine, { recursive: true })
})

t.test('paths and names with odd characters work like any other', async t => {
  const place = t.testdir()
  for (const name of [
    "it's a disk",
    'line\nbreak',
    '-dash',
    'größe 🦊',
    'comma,granularity=x',
    'l'.repeat(200),
  ]) {
    const odd = join(place, name)
    execFileSync('cp', ['--', source, odd])
    const options = ['--json', '--repo', repository]
    const made = await runMover(['backup', `--volume=${name}`, ...options, '--', odd])
    t.equal(made.code, 0, JSON.stringify(made.error))
    const out = join(place, `${name.slice(0, 100)} back`)
    const back = await runMover(['restore', ...options, '--', `${name}@latest`, out])
    t.equal(back.code, 0, JSON.stringify(back.error))
    t.ok((await readFile(out)).equals(await readFile(source)))
  }
})
