/**
 * Runs other programs for the scripts: quietly, with what they said shown only when they fail.
 */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** A failure that a user can act on: its message is all that has to be printed. */
export class ScriptError extends Error {}

/**
 * @typedef {object} RunOptions
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv} [env]
 * @property {readonly number[]} [okCodes] exit codes that are no failure; only 0 by default
 */

/**
 * Runs a program to its end and resolves to what it printed, stdout and stderr together.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<string>}
 */
export function run(command, args, { cwd, env, okCodes = [0] } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', text => (output += text))
    child.stderr.setEncoding('utf8').on('data', text => (output += text))
    child.on('error', error => reject(new ScriptError(`cannot run ${command}: ${error.message}`)))
    child.on('close', (code, signal) => {
      if (code !== null && okCodes.includes(code)) return resolve(output)
      const ending = signal === null ? `exit code ${code}` : `stopped by ${signal}`
      const line = [command, ...args].join(' ')
      reject(new ScriptError(`${output.trimEnd()}\n\n${line}: ${ending}`.trimStart()))
    })
  })
}

/**
 * What a program prints on stdout, or null when it cannot be run or fails.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {string | null}
 */
export function answerOf(command, args) {
  const { status, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, LC_ALL: 'C' },
  })
  return status === 0 ? stdout : null
}

// A user's PATH on Debian leaves out where e2fsprogs lives, and a desktop's where rustup puts cargo.
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', join(homedir(), '.cargo', 'bin')]

/** Where programs are looked for, in order. */
export function programFolders() {
  const own = (process.env.PATH ?? '').split(':').filter(folder => folder !== '')
  return [...new Set([...own, ...MORE_FOLDERS])]
}

/**
 * The environment of a program that is to find others in `folder` before anywhere else.
 *
 * @param {string} folder
 * @returns {NodeJS.ProcessEnv}
 */
export function searchingFirst(folder) {
  return { ...process.env, PATH: [folder, ...programFolders()].join(':') }
}

/**
 * The full path of a program, or null.
 *
 * @param {string} name
 * @param {readonly string[]} [folders]
 */
export function findProgram(name, folders = programFolders()) {
  for (const folder of folders) {
    const path = join(folder, name)
    if (isExecutable(path)) return path
  }
  return null
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * Runs a script's main function; prints the message of what it throws and exits with 1.
 *
 * @param {() => Promise<void>} main
 */
export async function runScript(main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof ScriptError ? `\n${error.message}` : error)
    process.exitCode = 1
  }
}
