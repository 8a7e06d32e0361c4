/**
 * Makes a fresh clone ready to run: packages, native addon, TypeScript. Each step is done only when
 * what it is made from has changed; when nothing has, this prints nothing and costs milliseconds.
 */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { pictureOf, readStamp, writeStamp } from './stamp.mjs'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const STAMP = join(ROOT, 'node_modules', '.mover-stamp.json')

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {string} what as printed while it runs
 * @property {() => string} picture of what it is made from and of what it made
 * @property {() => boolean} [isDone] for a machine on which someone else did it
 * @property {(rustFolder: string) => Promise<void>} make
 */

/** @type {readonly Step[]} */
const STEPS = [
  {
    name: 'packages',
    what: 'packages (npm ci)',
    // fs-ext is compiled for one version of Node's binary interface.
    picture: () => `${process.arch} ${process.versions.modules} ${seen('package-lock.json')}`,
    isDone: packagesAreThere,
    make: installPackages,
  },
  {
    name: 'addon',
    what: 'native addon (cargo build --release)',
    picture: () =>
      seen(
        'native/Cargo.toml',
        'native/Cargo.lock',
        'native/build.rs',
        'native/src',
        'native/mover.node',
      ),
    make: buildAddon,
  },
  {
    name: 'typescript',
    what: 'TypeScript (tsc, esbuild)',
    picture: () =>
      seen('package-lock.json', 'tsconfig.json', 'src', 'dist/index.js', 'dist/program/main.js'),
    make: compileTypeScript,
  },
]

/**
 * Does what is not done yet, in order; says each step and its seconds on stderr.
 *
 * @returns {Promise<void>}
 */
export async function setUp() {
  const stamp = readStamp(STAMP)
  if (STEPS.every(step => stamp[step.name] === step.picture())) return

  // The slow way needs more code, which the fast one need not load.
  const { requirePrerequisites } = await import('./prerequisites.mjs')
  const rustFolder = requirePrerequisites()
  const { holdLock } = await import('./lock.mjs')
  const release = await holdLock(`mover set-up ${ROOT}`)
  try {
    for (const step of STEPS) await doStep(step, rustFolder)
  } finally {
    release()
  }
}

/**
 * @param {Step} step
 * @param {string} rustFolder
 */
async function doStep(step, rustFolder) {
  // Read again: another set-up may have done it while this one waited for the lock.
  if (readStamp(STAMP)[step.name] === step.picture()) return
  if (step.isDone?.() !== true) {
    process.stderr.write(`set-up: ${step.what} `)
    const begun = performance.now()
    await step.make(rustFolder)
    process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(1)} s\n`)
  }
  writeStamp(STAMP, { ...readStamp(STAMP), [step.name]: step.picture() })
}

/** @param {string[]} paths */
function seen(...paths) {
  return pictureOf(ROOT, paths)
}

/** True when `npm install` or `npm ci` was run by hand, after the last change of the lock file. */
function packagesAreThere() {
  const installed = statSync(join(ROOT, 'node_modules', '.package-lock.json'), {
    throwIfNoEntry: false,
  })
  if (installed === undefined) return false
  if (installed.mtimeMs < statSync(join(ROOT, 'package-lock.json')).mtimeMs) return false
  try {
    createRequire(join(ROOT, 'package.json'))('fs-ext')
    return true
  } catch {
    // Not built, or built for another Node.
    return false
  }
}

async function installPackages() {
  const { findProgram, run, ScriptError, searchingFirst } = await import('./run.mjs')
  const npm = process.env.npm_execpath ?? findProgram('npm')
  if (npm === null) throw new ScriptError('npm was not found: it belongs to Node, install both')
  // What packages build is for the Node that runs this, which need not be the first in the PATH.
  const env = { ...searchingFirst(dirname(process.execPath)), ...(await nodeHeaders(npm)) }
  const args = ['ci', '--no-audit', '--no-fund']
  if (npm.endsWith('.js')) await run(process.execPath, [npm, ...args], { cwd: ROOT, env })
  else await run(npm, args, { cwd: ROOT, env })
}

/**
 * Where this Node has its headers beside it, node-gyp need not fetch them.
 *
 * @param {string} npm
 * @returns {Promise<NodeJS.ProcessEnv>}
 */
async function nodeHeaders(npm) {
  const { answerOf } = await import('./run.mjs')
  const prefix = dirname(dirname(process.execPath))
  const header = join(prefix, 'include', 'node', 'node_version.h')
  if (!existsSync(header)) return {}
  const major = /^#define NODE_MAJOR_VERSION (\d+)$/m.exec(readFileSync(header, 'utf8'))?.[1]
  if (major !== process.versions.node.split('.')[0]) return {}

  const [command, ...args] = npm.endsWith('.js') ? [process.execPath, npm] : [npm]
  const configured = answerOf(/** @type {string} */ (command), [
    ...args,
    'config',
    'get',
    'nodedir',
  ])
  const isConfigured = configured !== null && !['', 'undefined', 'null'].includes(configured.trim())
  return isConfigured ? {} : { npm_config_nodedir: prefix }
}

/** @param {string} rustFolder */
async function buildAddon(rustFolder) {
  const { run, searchingFirst } = await import('./run.mjs')
  const { openSslSettings } = await import('./openssl.mjs')
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'native', 'target')
  const args = [
    'build',
    '--release',
    '--locked',
    '--manifest-path',
    join(ROOT, 'native', 'Cargo.toml'),
  ]
  await run('cargo', args, {
    cwd: ROOT,
    env: { ...searchingFirst(rustFolder), ...openSslSettings(), CARGO_TARGET_DIR: target },
  })

  // A running process may have the old one mapped, so it is replaced and never written into.
  const addon = join(ROOT, 'native', 'mover.node')
  const fresh = `${addon}.${process.pid}`
  copyFileSync(join(target, 'release', 'libmover_native.so'), fresh)
  renameSync(fresh, addon)
}

async function compileTypeScript() {
  const { run } = await import('./run.mjs')
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  await run(process.execPath, [tsc, '-p', ROOT, '--noEmitOnError'], { cwd: ROOT })
  removeOrphans(join(ROOT, 'dist'), join(ROOT, 'src'))
  const { joinProgram } = await import('./join-program.mjs')
  await joinProgram(ROOT)
}

const COMPILED = /\.(js|js\.map|d\.ts)$/

/**
 * Removes what was compiled from sources that are gone, so that nothing imports it by mistake.
 *
 * @param {string} outputs
 * @param {string} sources
 */
export function removeOrphans(outputs, sources) {
  for (const entry of readdirSync(outputs, { withFileTypes: true })) {
    const output = join(outputs, entry.name)
    if (entry.isDirectory()) removeOrphans(output, join(sources, entry.name))
    else if (COMPILED.test(entry.name)) {
      const source = join(sources, entry.name.replace(COMPILED, '.ts'))
      if (!existsSync(source)) rmSync(output)
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { runScript } = await import('./run.mjs')
  await runScript(() => setUp())
}
