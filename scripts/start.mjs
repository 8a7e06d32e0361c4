/**
 * `npm start`: the set-up where it is needed, then the demonstration; `npm start -- ARGUMENTS`: then
 * `mover ARGUMENTS`, in this process.
 */
import { runScript } from './run.mjs'
import { setUp } from './setup.mjs'

await runScript(async () => {
  const args = process.argv.slice(2)
  await setUp()
  if (args.length === 0) {
    const { demonstrate } = await import('./demo.mjs')
    return demonstrate()
  }
  // npm runs scripts in the project's folder; relative paths are meant from where the user stands.
  if (process.env.INIT_CWD !== undefined) process.chdir(process.env.INIT_CWD)
  // Joined, it starts sooner; its types are those of what it was joined from.
  const program = '../dist/program/main.js'
  /** @type {typeof import('../dist/cli/main.js')} */
  const { main } = await import(program)
  process.exitCode = await main(args)
})
