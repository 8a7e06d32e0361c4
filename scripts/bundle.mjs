/**
 * `npm run bundle`: makes dist/mover, this Node with the whole program inside (a single executable
 * application). What the system loads only from a file system, addons and worker scripts, is put in
 * as assets, which src/cli/single-binary.ts unpacks.
 */
import { build } from 'esbuild'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { answerOf, findProgram, run, runScript } from './run.mjs'
import { ROOT, setUp } from './setup.mjs'

const WORK = join(ROOT, 'build', 'bundle')
const BINARY = join(ROOT, 'dist', 'mover')
const ADDON = 'mover.node'

/** The mark in Node's binary that postject turns on, as Node's manual gives it. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

const require = createRequire(join(ROOT, 'package.json'))

/** Packages that are only a way to load an addon: the addon itself takes their place. */
const ADDON_PACKAGES = ['@napi-rs/blake-hash', 'lz4-napi']

await runScript(async () => {
  await setUp()
  rmSync(WORK, { recursive: true, force: true })
  mkdirSync(WORK, { recursive: true })

  const addons = collectAddons()
  const scripts = await bundleScripts(addons)
  const files = [...addons.values(), ...scripts, writePackageFile()]
  await writeBinary(files)
  console.log(`${BINARY}: ${(statSync(BINARY).size / 2 ** 20).toFixed(0)} MiB`)
})

/**
 * Copies the addons into the work folder, without debugging symbols where `strip` is there. The
 * result maps what is imported to the name of the file.
 *
 * @returns {Map<string, string>}
 */
function collectAddons() {
  const addons = new Map([['#addon', ADDON]])
  takeAddon(join(ROOT, 'native', 'mover.node'), ADDON)
  for (const name of ['fs-ext', ...ADDON_PACKAGES]) {
    const before = new Set(Object.keys(require.cache))
    require(name)
    const loaded = Object.keys(require.cache).filter(
      each => each.endsWith('.node') && !before.has(each),
    )
    const [path] = loaded
    if (path === undefined || loaded.length > 1)
      throw new Error(`${name} loads ${loaded.length} addons`)
    const file = `${name.replace(/^.*\//, '')}.node`
    takeAddon(path, file)
    addons.set(name, file)
  }
  return addons
}

/**
 * @param {string} path
 * @param {string} file
 */
function takeAddon(path, file) {
  const copy = join(WORK, file)
  copyFileSync(path, copy)
  const strip = findProgram('strip')
  if (strip !== null) answerOf(strip, ['--strip-debug', copy])
}

/**
 * Three scripts: the program, piscina's worker, which it looks for beside itself, and our part of it.
 *
 * @param {Map<string, string>} addons
 */
async function bundleScripts(addons) {
  const entryPoints = {
    main: join(ROOT, 'dist', 'cli', 'main.js'),
    'batch-worker': join(ROOT, 'dist', 'pipeline', 'batch-worker.js'),
    worker: join(require.resolve('piscina'), '..', 'worker.js'),
    'single-binary': join(ROOT, 'dist', 'cli', 'single-binary.js'),
  }
  await build({
    entryPoints,
    outdir: WORK,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // A program in one file has no use for import.meta but to find what lies beside it.
    define: { 'import.meta.url': 'moduleUrl' },
    banner: { js: "const moduleUrl = require('node:url').pathToFileURL(__filename).href;" },
    plugins: [besideTheProgram(addons)],
    logLevel: 'warning',
  })
  return ['main.js', 'batch-worker.js', 'worker.js']
}

/**
 * Points what loads an addon to the file that will lie beside the program; leaves out the addons that
 * are only there to make a package faster.
 *
 * @param {Map<string, string>} addons
 * @returns {import('esbuild').Plugin}
 */
function besideTheProgram(addons) {
  return {
    name: 'beside-the-program',
    setup({ onResolve }) {
      onResolve({ filter: /\.node$/ }, ({ importer }) => {
        const name = [...addons.keys()].find(each => importer.includes(`/node_modules/${each}/`))
        if (name === undefined) return { errors: [{ text: `no addon is known for ${importer}` }] }
        return { path: `./${addons.get(name)}`, external: true }
      })
      onResolve({ filter: new RegExp(`^(${ADDON_PACKAGES.join('|')})$`) }, ({ path }) => ({
        path: `./${addons.get(path)}`,
        external: true,
      }))
      onResolve({ filter: /^(msgpackr-extract|@napi-rs\/nice)$/ }, ({ path }) => ({
        path,
        external: true,
      }))
    },
  }
}

/** By this the unpacked program finds its version and its addon, as an installed package does. */
function writePackageFile() {
  const { name, version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const exports = { './package.json': './package.json' }
  const imports = { '#addon': `./${ADDON}` }
  const text = JSON.stringify({ name, version, type: 'commonjs', exports, imports })
  writeFileSync(join(WORK, 'package.json'), text)
  return 'package.json'
}

/** @param {readonly string[]} files */
async function writeBinary(files) {
  const contents = {
    addon: ADDON,
    files: files.map(name => ({ name, sha256: sha256Of(join(WORK, name)) })),
  }
  writeFileSync(join(WORK, 'program.json'), JSON.stringify(contents))
  const config = {
    main: join(WORK, 'single-binary.js'),
    output: join(WORK, 'sea.blob'),
    disableExperimentalSEAWarning: true,
    assets: Object.fromEntries([
      ['program', join(WORK, 'program.json')],
      ...files.map(name => [name, join(WORK, name)]),
    ]),
  }
  writeFileSync(join(WORK, 'sea.json'), JSON.stringify(config))
  await run(process.execPath, ['--experimental-sea-config', join(WORK, 'sea.json')])

  const fresh = join(WORK, basename(BINARY))
  copyFileSync(process.execPath, fresh)
  chmodSync(fresh, 0o755)
  const postject = require.resolve('postject/dist/cli.js')
  const args = [fresh, 'NODE_SEA_BLOB', config.output, '--sentinel-fuse', FUSE]
  await run(process.execPath, [postject, ...args])
  renameSync(fresh, BINARY)
}

/** @param {string} path */
function sha256Of(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}
