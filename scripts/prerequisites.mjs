/**
 * What has to be on the machine before anything is built. As root on Debian it is installed; elsewhere
 * the exact command is named, and nothing has happened yet.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { systemOpenSslFolder } from './openssl.mjs'
import { answerOf, findProgram, programFolders, ScriptError } from './run.mjs'

const MANIFEST = new URL('../native/Cargo.toml', import.meta.url)
const NODE_WANTED = '20.12'

/**
 * @typedef {'apt-get' | 'dnf' | 'zypper' | 'pacman'} PackageManager
 * @typedef {object} Tool
 * @property {string} name how a message calls it
 * @property {readonly string[]} programs all of them are needed
 * @property {Record<PackageManager, readonly string[]>} packages
 * @property {() => boolean} [isThere] for what is no program
 */

/** @type {readonly Tool[]} */
const BUILD_TOOLS = [
  {
    name: 'a C and C++ compiler with make',
    programs: ['cc', 'c++', 'make'],
    packages: {
      'apt-get': ['build-essential'],
      dnf: ['gcc', 'gcc-c++', 'make'],
      zypper: ['gcc', 'gcc-c++', 'make'],
      pacman: ['base-devel'],
    },
  },
  {
    name: 'Python 3 (for node-gyp)',
    programs: ['python3'],
    packages: {
      'apt-get': ['python3'],
      dnf: ['python3'],
      zypper: ['python3'],
      pacman: ['python'],
    },
  },
  {
    name: 'OpenSSL to link with (libssl.a)',
    programs: [],
    packages: { 'apt-get': ['libssl-dev'], dnf: [], zypper: [], pacman: [] },
    // Other distributions have no static library: there it is compiled, for which Perl is needed.
    isThere: () => systemOpenSslFolder() !== null || packageManager() !== 'apt-get',
  },
  {
    name: 'Perl (to compile OpenSSL)',
    programs: ['perl'],
    packages: { 'apt-get': ['perl'], dnf: ['perl'], zypper: ['perl'], pacman: ['perl'] },
  },
  {
    name: 'e2fsprogs (mke2fs, debugfs, e2fsck)',
    programs: ['mke2fs', 'debugfs', 'e2fsck'],
    packages: {
      'apt-get': ['e2fsprogs'],
      dnf: ['e2fsprogs'],
      zypper: ['e2fsprogs'],
      pacman: ['e2fsprogs'],
    },
  },
]

/** What the tests need beyond the build. @type {readonly Tool[]} */
const TEST_TOOLS = [
  {
    name: 'strace (the tests watch system calls with it)',
    programs: ['strace'],
    packages: {
      'apt-get': ['strace'],
      dnf: ['strace'],
      zypper: ['strace'],
      pacman: ['strace'],
    },
  },
]

/**
 * Checks everything, in this order: Node, the machine, the programs. Returns the folder of the Rust to
 * build with. Throws a ScriptError that says what is missing and which command brings it.
 *
 * @param {{ forTests?: boolean }} [options]
 * @returns {string}
 */
export function requirePrerequisites({ forTests = false } = {}) {
  checkNode()
  const tools = forTests ? [...BUILD_TOOLS, ...TEST_TOOLS] : BUILD_TOOLS

  const missing = missingTools(tools)
  const rust = findRust({ forTests })
  if (missing.length > 0 || rust === null) provide(missing, { withRust: rust === null, forTests })

  const still = missingTools(tools)
  const found = findRust({ forTests })
  if (still.length > 0 || found === null) {
    throw new ScriptError(`still missing after the installation: ${namesOf(still, found === null)}`)
  }
  return found
}

function checkNode() {
  if (!isAtLeast(process.versions.node, NODE_WANTED)) {
    throw new ScriptError(
      `mover needs Node ${NODE_WANTED} or later, and this is ${process.versions.node}: ` +
        'install a newer Node (for example `nvm install 22`) and run this again',
    )
  }
  if (process.platform !== 'linux') {
    throw new ScriptError(`mover runs on Linux, and this is ${process.platform}`)
  }
}

/** @param {readonly Tool[]} tools */
function missingTools(tools) {
  return tools.filter(
    ({ programs, isThere }) =>
      isThere?.() === false || programs.some(program => findProgram(program) === null),
  )
}

/** The Rust version that the crates need, as native/Cargo.toml says. */
function rustWanted() {
  const wanted = /^rust-version = "([\d.]+)"$/m.exec(readFileSync(MANIFEST, 'utf8'))?.[1]
  if (wanted === undefined) throw new Error('native/Cargo.toml names no rust-version')
  return wanted
}

/**
 * The first folder that holds a cargo and a rustc that are new enough; null when none does. An old
 * one that comes first in the PATH, such as Debian's own, hides no newer one.
 *
 * @param {{ forTests: boolean }} options
 */
function findRust({ forTests }) {
  const wanted = rustWanted()
  for (const folder of programFolders()) {
    const rustc = findProgram('rustc', [folder])
    const cargo = findProgram('cargo', [folder])
    if (rustc === null || cargo === null) continue
    if (forTests && findProgram('cargo-fmt', [folder]) === null) continue
    if ([rustc, cargo].every(path => isAtLeast(versionOf(path), wanted))) return folder
  }
  return null
}

/** @param {string} path */
function versionOf(path) {
  return /\d+\.\d+\.\d+/.exec(answerOf(path, ['--version']) ?? '')?.[0] ?? '0'
}

/**
 * @param {string} version
 * @param {string} wanted
 */
function isAtLeast(version, wanted) {
  return version.localeCompare(wanted, 'en', { numeric: true }) >= 0
}

/**
 * Installs what is missing, or throws with the command that would.
 *
 * @param {readonly Tool[]} missing
 * @param {{ withRust: boolean, forTests: boolean }} options
 */
function provide(missing, { withRust, forTests }) {
  const manager = packageManager()
  const mayInstall = manager === 'apt-get' && process.getuid?.() === 0
  if (mayInstall) {
    console.error('set-up: reading the package lists (apt-get update)')
    apt(['update', '-qq'])
  }

  const rust = withRust ? rustRemedy(manager, { forTests }) : { packages: [], command: null }
  const packages = [...rust.packages]
  if (manager !== null) packages.push(...missing.flatMap(tool => tool.packages[manager]))
  if (!mayInstall || rust.command !== null) {
    throw new ScriptError(instructions({ missing, withRust, manager, packages, rust }))
  }

  console.error(`set-up: installing ${packages.join(' ')} (apt-get install)`)
  apt(['install', '-y', '-qq', '--no-install-recommends', ...packages])
}

/** @returns {PackageManager | null} */
function packageManager() {
  const managers = /** @type {const} */ (['apt-get', 'dnf', 'zypper', 'pacman'])
  return managers.find(manager => findProgram(manager) !== null) ?? null
}

/**
 * What brings a Rust that is new enough: packages where the distribution has one, else a command.
 *
 * @param {PackageManager | null} manager
 * @param {{ forTests: boolean }} options
 * @returns {{ packages: readonly string[], command: string | null }}
 */
function rustRemedy(manager, { forTests }) {
  if (manager === 'apt-get') {
    // Debian 12 keeps its own Rust at 1.63, and beside it a current one for building browsers.
    const isNewEnough = /** @param {string} suffix */ suffix =>
      isAtLeast(aptCandidate(`rustc${suffix}`), rustWanted())
    const suffix = ['', '-web'].find(isNewEnough) ?? (isUnlistedDebian12() ? '-web' : undefined)
    if (suffix !== undefined) {
      const names = forTests ? ['rustc', 'cargo', 'rustfmt'] : ['rustc', 'cargo']
      return { packages: names.map(name => name + suffix), command: null }
    }
  }
  if (findProgram('rustup') !== null) {
    return { packages: [], command: 'rustup toolchain install stable && rustup default stable' }
  }
  return { packages: [], command: 'curl -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env' }
}

/** A new machine's apt knows no package before its first update, which only root can make. */
function isUnlistedDebian12() {
  if (aptCandidate('rustc') !== '0') return false
  const release = readFileSync('/etc/os-release', 'utf8')
  return /^ID=debian$/m.test(release) && /^VERSION_ID="12"$/m.test(release)
}

/** @param {string} name */
function aptCandidate(name) {
  return (
    /Candidate: (?:\d+:)?(\d[\d.]*)/.exec(answerOf('apt-cache', ['policy', name]) ?? '')?.[1] ?? '0'
  )
}

/** @param {readonly string[]} args */
function apt(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const { status, stdout, stderr } = spawnSync('apt-get', args, { env, encoding: 'utf8' })
  if (status === 0) return
  throw new ScriptError(`${stdout}${stderr}\napt-get ${args.join(' ')} failed`)
}

const INSTALL = {
  'apt-get': 'apt-get update && apt-get install -y',
  dnf: 'dnf install -y',
  zypper: 'zypper install -y',
  pacman: 'pacman -S --needed',
}

/**
 * @param {object} wanted
 * @param {readonly Tool[]} wanted.missing
 * @param {boolean} wanted.withRust
 * @param {PackageManager | null} wanted.manager
 * @param {readonly string[]} wanted.packages
 * @param {{ command: string | null }} wanted.rust
 */
function instructions({ missing, withRust, manager, packages, rust }) {
  const lines = [`mover cannot be built here yet. Missing: ${namesOf(missing, withRust)}.`]
  const commands = []
  if (packages.length > 0 && manager !== null) {
    const install = `${INSTALL[manager]} ${packages.join(' ')}`
    commands.push(process.getuid?.() === 0 ? install : `sudo sh -c '${install}'`)
  }
  if (rust.command !== null) commands.push(rust.command)
  if (commands.length > 0) {
    lines.push('Run this, and then the same again:', '', ...commands.map(each => `  ${each}`))
  }
  return lines.join('\n')
}

/**
 * @param {readonly Tool[]} missing
 * @param {boolean} withRust
 */
function namesOf(missing, withRust) {
  const names = missing.map(tool => tool.name)
  if (withRust) names.push(`Rust ${rustWanted()} or later (cargo, rustc)`)
  return names.join('; ')
}
