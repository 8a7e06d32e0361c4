/**
 * The standalone binary, where there is nothing but the libraries it is linked with: no Node, no shell,
 * no /proc. Where we are not root, in a user namespace that lets us change the root folder.
 */
import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readdirSync, realpathSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { projectFolder } from './support/project-folder.js'
import { randomBytes, seededRandom } from './support/random.js'

const runFile = promisify(execFile)

/** glibc in its parts, libstdc++ and libgcc_s: all that the binary and its addons may need. */
const LIBRARIES =
  /^(ld-linux[\w-]*|libc|libdl|libgcc_s|libm|libpthread|librt|libstdc\+\+|linux-vdso)\.so\./

interface Ending {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const binary = join(projectFolder, 'dist', 'mover')
await runFile(process.execPath, [join(projectFolder, 'scripts', 'bundle.mjs')])
const addons = readdirSync(join(projectFolder, 'build', 'bundle'))
  .filter(name => name.endsWith('.node'))
  .map(name => join(projectFolder, 'build', 'bundle', name))
const root = makeRoot()

t.test('needs glibc, libstdc++ and libgcc_s, and nothing else', async t => {
  t.equal(addons.length, 4)
  for (const path of [binary, ...addons]) {
    const others = librariesOf(path).filter(({ name }) => !LIBRARIES.test(name))
    t.strictSame(others, [], path)
  }
})

t.test(
  'does its work where there is nothing else',
  { skip: refusalOf([...namespaces(), '--root=/', 'true']) },
  async t => {
    const version = await mover('--version')
    t.match(version, { code: 0, stdout: /^mover \d+\.\d+\.\d+\n$/, stderr: '' })

    const volume = Buffer.concat([
      randomBytes(seededRandom(3), 5_000_000),
      Buffer.alloc(3_000_000),
      Buffer.from('mover '.repeat(1_000_000)),
    ])
    await writeFile(join(root, 'empty', 'volume.img'), volume)
    const commands = [
      'init repository',
      'backup volume.img --volume vm-42/sda --workers 2 --repo repository',
      'restore vm-42/sda@latest restored.img --workers 2 --repo repository',
      'verify --independent --repo repository',
    ]
    for (const command of commands) {
      const ending = await mover(...command.split(' '))
      t.equal(ending.code, 0, `${command}: ${ending.stderr}`)
    }
    t.ok(volume.equals(await readFile(join(root, 'empty', 'restored.img'))), 'every byte came back')

    const again = await mover('restore', 'latest', 'restored.img', '--repo', 'repository', '--json')
    t.equal(again.code, 3)
    t.match(JSON.parse(again.stdout.trim().split('\n').at(-1) ?? ''), {
      type: 'error',
      code: 'TARGET_EXISTS',
    })
  },
)

t.test(
  'says so when no place is writable and executable',
  { skip: refusalOf([...namespaces('--mount'), 'true']) },
  async t => {
    const closed = await unshare([
      ...namespaces('--mount'),
      'sh',
      '-ec',
      'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; ' +
        'mount -t tmpfs -o noexec,mode=1777 tmpfs "$1/tmp"; exec unshare --root="$1" /mover list',
      'sh',
      root,
    ])
    t.equal(closed.code, 3, closed.stderr)
    t.match(closed.stderr, /^mover: no folder is private, writable and executable/)
    t.match(closed.stderr, /\/tmp: .*(failed to map segment|Operation not permitted)/)
    t.match(closed.stderr, /EROFS/)
    t.match(closed.stderr, /XDG_CACHE_HOME/)
  },
)

/** A folder that is a machine: the binary, the libraries, an empty folder to work in. */
function makeRoot(): string {
  const folder = realpathSync(t.testdir({ empty: {}, tmp: {} }))
  // With a group that may write in it, it would be no private place to unpack to.
  for (const name of ['.', 'tmp', 'empty']) chmodSync(join(folder, name), 0o755)
  for (const { path } of [binary, ...addons].flatMap(librariesOf)) {
    if (path === null) continue
    mkdirSync(join(folder, dirname(path)), { recursive: true })
    copyFileSync(path, join(folder, path))
  }
  copyFileSync(binary, join(folder, 'mover'))
  return folder
}

/** What `ldd` lists; the part of the kernel that looks like a library has no path. */
function librariesOf(path: string): { name: string; path: string | null }[] {
  const lines = execFileSync('ldd', [path], { encoding: 'utf8' }).trim().split('\n')
  return lines.map(line => {
    const [first = ''] = line.trim().split(' ')
    return { name: basename(first), path: /(\/\S+) \(0x/.exec(line)?.[1] ?? null }
  })
}

function mover(...args: string[]): Promise<Ending> {
  return unshare([...namespaces(), `--root=${root}`, '--wd=/empty', '/mover', ...args])
}

function namespaces(...more: string[]): string[] {
  return process.geteuid?.() === 0 ? more : ['--user', '--map-root-user', ...more]
}

/** With an empty environment: tap puts NODE_OPTIONS into every child's, which a new machine has not. */
async function unshare(args: readonly string[]): Promise<Ending> {
  try {
    return { code: 0, ...(await runFile('env', ['-i', 'unshare', ...args])) }
  } catch (error) {
    return error as Ending
  }
}

/** Why this machine cannot do it, or false. */
function refusalOf(args: readonly string[]): string | false {
  try {
    execFileSync('unshare', args, { stdio: 'ignore' })
    return false
  } catch {
    return `not root, and unshare ${args.join(' ')} is not allowed here`
  }
}
