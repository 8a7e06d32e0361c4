#!/usr/bin/env node
import { existsSync, realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MoverError } from '../core/errors.js'
import type { Command } from './command.js'
import { COMMANDS } from './commands.js'
import { EXIT_CODES } from './exit-codes.js'
import { asksForJson, lookAt } from './first-look.js'
import { commandHelp, overviewHelp } from './help.js'
import { processIo, type Io } from './io.js'
import { runCommand } from './run-command.js'
import { Run } from './run.js'

/**
 * One run of the binary: argv → options → one operation → a report. Resolves to the exit code and
 * never rejects; the process may end when it has resolved.
 */
export async function main(argv: readonly string[], io: Io = processIo()): Promise<number> {
  using run = new Run(io, { isJson: asksForJson(argv, COMMANDS) })
  return await run.codeOf(() => answer(argv, run))
}

async function answer(argv: readonly string[], run: Run): Promise<number> {
  const { command, isHelp, isVersion } = lookAt(argv, COMMANDS)
  if (isVersion) return await printVersion(run)
  if (isHelp) return await printHelp(command, run)
  if (command === null) return await refuseNothing(argv, run)
  return await runCommand(run, { argv, command, commands: COMMANDS })
}

async function printVersion({ stdout }: Run): Promise<number> {
  const { PROGRAM_VERSION } = await import('../native/program-version.js')
  await stdout.write(`${PROGRAM_VERSION}\n`)
  return EXIT_CODES.done
}

async function printHelp(command: Command | null, { stdout }: Run): Promise<number> {
  await stdout.write(command === null ? overviewHelp(COMMANDS) : commandHelp(command))
  return EXIT_CODES.done
}

/** Who types nothing is shown what there is; who types options, or is a program, what is missing. */
async function refuseNothing(argv: readonly string[], { stderr, isJson }: Run): Promise<number> {
  if (isJson || argv.length > 0) {
    const message = `no command is given, only ${argv.join(' ')}`
    throw new MoverError('ARGUMENT_INVALID', message, { remedy: 'mover help lists the commands' })
  }
  await stderr.write(overviewHelp(COMMANDS))
  return EXIT_CODES.usage
}

/** False where another program imports this module: that one decides when to run it. */
function isProgram(): boolean {
  const script = process.argv[1]
  if (script === undefined || !existsSync(script)) return false
  return realpathSync(script) === fileURLToPath(import.meta.url)
}

// The exit code is set, not forced: a handle that something left open is to be seen as a hang.
if (isProgram()) void main(process.argv.slice(2)).then(code => (process.exitCode = code))
