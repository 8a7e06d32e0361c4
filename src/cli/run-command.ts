import { parseArguments } from './arguments.js'
import type { Command } from './command.js'
import { explainedError } from './explained-error.js'
import { shellWord } from './printable.js'
import type { Run } from './run.js'

export interface CommandLine {
  readonly argv: readonly string[]
  readonly command: Command
  readonly commands: readonly Command[]
}

/** Options → one operation → a report. Resolves to the exit code; throws what a person can act on. */
export async function runCommand(run: Run, line: CommandLine): Promise<number> {
  const { argv, command, commands } = line
  const prefix = `mover: ${command.name}`
  const isStdoutTaken = command.takesStdout?.({}) ?? false
  run.speakAs({ prefix, isQuiet: false, isStdoutTaken })
  try {
    const { options, operands, everywhere } = parseArguments(argv, { command, commands })
    const report = run.speakAs({
      prefix,
      isQuiet: everywhere.quiet,
      isStdoutTaken: command.takesStdout?.(operands) ?? false,
    })
    return await command.run({
      options,
      operands,
      repositoryPath: everywhere.repo ?? (run.io.environment['MOVER_REPOSITORY'] || null),
      repositoryOption:
        everywhere.repo === undefined ? '' : ` --repo ${shellWord(everywhere.repo)}`,
      report,
      print: text => run.stdout.write(text),
      commands,
      io: run.io,
      signal: run.signal,
    })
  } catch (error) {
    throw explainedError(error, command)
  }
}
