/** The two commands of the README, as a user types them. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { projectFolder } from './support/project-folder.js'

interface Ending {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Without the options that tap puts into the environment of every Node, which a user has not. */
function run(command: string, args: readonly string[], cwd = projectFolder): Ending {
  return spawnSync('env', ['-u', 'NODE_OPTIONS', command, ...args], { cwd, encoding: 'utf8' })
}

t.test('npm start -- ARGUMENTS is mover ARGUMENTS', async t => {
  const version = run('npm', ['start', '--silent', '--', '--version'])
  t.match(version, { status: 0, stdout: /^mover \d+\.\d+\.\d+\n$/ })
  t.notMatch(version.stderr, /set-up/, 'nothing is built a second time')
  t.equal(run('npm', ['start', '--silent', '--', 'no-such-command']).status, 2)
})

t.test('relative paths are meant from where the user stands', async t => {
  const folder = t.testdir({})
  const made = run(
    'npm',
    ['--prefix', projectFolder, 'start', '--silent', '--', 'init', 'here'],
    folder,
  )
  t.equal(made.status, 0, made.stderr)
  t.ok(existsSync(join(folder, 'here', 'config')))
})

t.test('npm start -- ARGUMENTS adds less than 0.2 s to an empty npm script', async t => {
  const empty = t.testdir({ 'package.json': '{ "scripts": { "start": "true" } }' })
  let [fastest, fastestEmpty] = [Infinity, Infinity]
  // Other tests run beside this one: only the fastest of each says something.
  for (let round = 0; round < 30 && !(fastest - fastestEmpty < 200); round++) {
    fastestEmpty = Math.min(fastestEmpty, millisecondsOf(['start'], empty))
    fastest = Math.min(fastest, millisecondsOf(['start', '--', '--version'], projectFolder))
  }
  t.ok(fastest - fastestEmpty < 200, `${Math.round(fastest - fastestEmpty)} ms`)
})

function millisecondsOf(args: readonly string[], cwd: string): number {
  const begun = performance.now()
  run('npm', args, cwd)
  return performance.now() - begun
}

t.test('npm start shows the main job, and what it proposes next works', async t => {
  const folder = join(temporaryFolder(t), 'demo')
  const demo = run(process.execPath, [
    '--input-type=module',
    '--eval',
    `import { demonstrate } from ${JSON.stringify(join(projectFolder, 'scripts', 'demo.mjs'))}
     await demonstrate(${JSON.stringify(folder)})`,
  ])
  t.equal(demo.status, 0, demo.stderr)
  t.match(demo.stdout, /both states came back/)
  t.match(demo.stdout, /^backup, full +\S+ \S+ +0 B +\S+ \S+ /m)
  t.match(demo.stdout, /^backup, incremental +[\d.]+ MiB +[\d.]+ GiB +[\d.]+ [KM]iB /m)

  const commands = [...demo.stdout.matchAll(/^ {2}npm start -- (.+)$/gm)].map(
    ([, line]) => line ?? '',
  )
  t.ok(commands.length >= 5)
  for (const command of commands) {
    const ending = run(process.execPath, ['dist/program/main.js', ...command.split(' ')])
    t.equal(ending.status, 0, `${command}: ${ending.stderr}`)
  }
  t.equal(run('cmp', [join(folder, 'again.img'), join(folder, 'volume-before.img')]).status, 0)
})

t.test('the demonstration touches no folder that it did not make', async t => {
  const folder = t.testdir({ 'my-own-file': 'precious' })
  const demo = run(process.execPath, [
    '--input-type=module',
    '--eval',
    `import { demonstrate } from ${JSON.stringify(join(projectFolder, 'scripts', 'demo.mjs'))}
     await demonstrate(${JSON.stringify(folder)})`,
  ])
  t.match(demo, { status: 1, stderr: /was not made by this demonstration/ })
  t.equal(readFileSync(join(folder, 'my-own-file'), 'utf8'), 'precious')
})

t.test(
  'the set-up names what is missing and the command for it, before anything happens',
  async t => {
    const { clone, bin } = bareMachine(t, { dnf: 'exit 1' })
    const ending = setUp(clone, bin)
    t.equal(ending.status, 1)
    t.match(ending.stderr, /Missing: a C and C\+\+ compiler.*Python 3.*Rust \d/)
    t.match(ending.stderr, /dnf install -y gcc gcc-c\+\+ make python3/)
    t.match(ending.stderr, /rustup/)
    t.notOk(existsSync(join(clone, 'node_modules')))
  },
)

t.test('as root on Debian the set-up installs what is missing', { skip: notRoot() }, async t => {
  const { clone, bin } = bareMachine(t, {
    'apt-get': 'echo "apt-get $*" >> "$LOG"',
    'apt-cache':
      'case $2 in *-web) echo "  Candidate: 1.99.0+dfsg1-1";; *) echo "  Candidate: 1.63.0";; esac',
  })
  const ending = setUp(clone, bin)
  t.equal(ending.status, 1)
  t.match(ending.stderr, /still missing after the installation/)
  const log = readFileSync(join(clone, 'log'), 'utf8')
  t.match(
    log,
    /^apt-get update -qq\napt-get install -y .*rustc-web cargo-web build-essential python3/,
  )
})

function notRoot(): string | false {
  return process.geteuid?.() === 0 ? false : 'not root'
}

/** A clone before its set-up, and a PATH on which nothing is but Node and these programs. */
function bareMachine(t: Test, programs: Record<string, string>): { clone: string; bin: string } {
  const clone = temporaryFolder(t)
  const bin = join(clone, 'bin')
  mkdirSync(bin)
  symlinkSync(process.execPath, join(bin, 'node'))
  for (const [name, script] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`)
    chmodSync(join(bin, name), 0o755)
  }
  for (const name of ['scripts', 'package.json', 'package-lock.json', 'native/Cargo.toml']) {
    cpSync(join(projectFolder, name), join(clone, name), { recursive: true })
  }
  return { clone, bin }
}

function setUp(clone: string, bin: string): Ending {
  const env = { PATH: bin, HOME: clone, LOG: join(clone, 'log') }
  return spawnSync('node', [join(clone, 'scripts', 'setup.mjs')], { env, encoding: 'utf8' })
}

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mover-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}
