/**
 * `npm test`: everything that must hold, from the layout of the code to the promises. `npm test FILE...`
 * runs only those test files. The last line says how much passed.
 */
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { requirePrerequisites } from './prerequisites.mjs'
import { openSslSettings } from './openssl.mjs'
import { findProgram, run, runScript, ScriptError, searchingFirst } from './run.mjs'
import { ROOT, setUp } from './setup.mjs'
import { TapLines } from './tap-lines.mjs'

/** @typedef {import('./tap-lines.mjs').Count} Count */

const CARGO_RESULT = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm

await runScript(async () => {
  const files = process.argv.slice(2)
  const rustFolder = requirePrerequisites({ forTests: true })
  await setUp()
  const counts = files.length > 0 ? await someTests(files) : await everything(rustFolder)

  const total = { passed: 0, failed: 0, skipped: 0 }
  for (const { passed, failed, skipped } of counts) {
    total.passed += passed
    total.failed += failed
    total.skipped += skipped
  }
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ''
  console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`)
  if (total.failed > 0) process.exitCode = 1
})

/**
 * @param {string} rustFolder
 * @returns {Promise<Count[]>}
 */
async function everything(rustFolder) {
  const counts = [
    await check('format of the code (prettier)', () =>
      node('prettier/bin/prettier.cjs', '--check', '.'),
    ),
    await check('types of the scripts (tsc)', () => tsc('scripts')),
    await check('types of the tests (tsc)', compileTests),
    await check('lints (eslint)', () => node('eslint/bin/eslint.js', '--max-warnings', '0', '.')),
    ...(await rustChecks(rustFolder)),
  ]
  return [...counts, await tap([])]
}

/**
 * @param {readonly string[]} files
 * @returns {Promise<Count[]>}
 */
async function someTests(files) {
  const compiled = files.map(file =>
    join(ROOT, 'build', relative(ROOT, resolve(file)).replace(/\.ts$/, '.js')),
  )
  return [await check('types of the tests (tsc)', compileTests), await tap(compiled)]
}

/** Compiled anew, so that no test outlives its source. */
async function compileTests() {
  for (const folder of ['src', 'test', 'bench', 'examples']) {
    rmSync(join(ROOT, 'build', folder), { recursive: true, force: true })
  }
  return tsc('test')
}

/** @param {string} project */
function tsc(project) {
  return node('typescript/bin/tsc', '-p', join(ROOT, project))
}

/**
 * @param {string} script
 * @param {string[]} args
 */
function node(script, ...args) {
  return run(process.execPath, [join(ROOT, 'node_modules', script), ...args], { cwd: ROOT })
}

/**
 * @param {string} rustFolder
 * @returns {Promise<Count[]>}
 */
async function rustChecks(rustFolder) {
  const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'native', 'target')
  const env = { ...searchingFirst(rustFolder), ...openSslSettings(), CARGO_TARGET_DIR: target }
  const options = { cwd: join(ROOT, 'native'), env }
  const cargo = /** @param {string[]} args */ (...args) => run('cargo', args, options)
  return [
    await check('format of the Rust code (cargo fmt)', () => cargo('fmt', '--check')),
    await check('format and locked crates of the benchmark (cargo fmt, cargo fetch)', async () => {
      for (const crate of ['limits', 'index']) {
        const inCrate = { ...options, cwd: join(ROOT, 'bench', crate) }
        await run('cargo', ['fmt', '--check'], inCrate)
        // They build against native/: a crate that is new there has to be locked here too.
        await run('cargo', ['fetch', '--quiet', '--locked'], inCrate)
      }
    }),
    await clippy(cargo, rustFolder),
    await cargoTest(cargo),
  ]
}

/**
 * @param {(...args: string[]) => Promise<string>} cargo
 * @param {string} rustFolder
 */
async function clippy(cargo, rustFolder) {
  const what = 'lints of the Rust code (cargo clippy)'
  if (findProgram('cargo-clippy', [rustFolder]) === null) {
    console.log(`skipped  ${what}: this Rust has no clippy (rustup component add clippy)`)
    return { passed: 0, failed: 0, skipped: 1 }
  }
  return check(what, () => cargo('clippy', '--locked', '--all-targets', '--', '-D', 'warnings'))
}

/**
 * @param {(...args: string[]) => Promise<string>} cargo
 * @returns {Promise<Count>}
 */
async function cargoTest(cargo) {
  let count = { passed: 0, failed: 0, skipped: 0 }
  const { failed } = await check('Rust tests (cargo test)', async () => {
    count = countCargo(await cargo('test', '--locked', '--no-fail-fast'))
  })
  return failed > 0 ? { ...count, failed } : count
}

/** @param {string} output */
function countCargo(output) {
  const count = { passed: 0, failed: 0, skipped: 0 }
  for (const [, passed, failed, ignored] of output.matchAll(CARGO_RESULT)) {
    count.passed += Number(passed)
    count.failed += Number(failed)
    count.skipped += Number(ignored)
  }
  return count
}

/**
 * Does one thing; says how long it took and, when it fails, what it said.
 *
 * @param {string} what
 * @param {() => Promise<unknown>} work
 * @returns {Promise<Count>}
 */
async function check(what, work) {
  const begun = performance.now()
  const seconds = () => `${((performance.now() - begun) / 1000).toFixed(1)} s`
  try {
    await work()
    console.log(`ok       ${what}, ${seconds()}`)
    return { passed: 1, failed: 0, skipped: 0 }
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error
    console.log(`NOT OK   ${what}, ${seconds()}\n${error.message}\n`)
    return { passed: 0, failed: 1, skipped: 0 }
  }
}

/**
 * Runs the test files; shows one line for each, and every assertion that failed.
 *
 * @param {readonly string[]} files all of them when none is given
 * @returns {Promise<Count>}
 */
function tap(files) {
  const script = join(ROOT, 'node_modules', '.bin', 'tap')
  const args = [script, 'run', '--reporter=tap', ...files]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
    const tests = new TapLines()
    createInterface({ input: child.stdout }).on('line', line => tests.read(line))
    child.on('error', reject)
    child.on('close', code => resolve(tests.count(code)))
  })
}
