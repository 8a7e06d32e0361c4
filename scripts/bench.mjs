/**
 * `npm run bench`: set-up, then the benchmark; bench/README.md says what it needs and how to read it.
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { requirePrerequisites } from './prerequisites.mjs'
import { run, runScript, searchingFirst } from './run.mjs'
import { ROOT, setUp } from './setup.mjs'

await runScript(async () => {
  const rustFolder = requirePrerequisites()
  await setUp()
  const env = searchingFirst(rustFolder)
  await run('cargo', ['build', '--release', '--locked', '--quiet'], {
    cwd: join(ROOT, 'bench', 'limits'),
    env: { ...env, CARGO_TARGET_DIR: join(ROOT, 'bench', 'limits', 'target') },
  })
  rmSync(join(ROOT, 'build', 'bench'), { recursive: true, force: true })
  await run(
    process.execPath,
    [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'bench')],
    { cwd: ROOT },
  )
  const main = join(ROOT, 'build', 'bench', 'main.js')
  const { status } = spawnSync(process.execPath, [main, ...process.argv.slice(2)], {
    stdio: 'inherit',
  })
  process.exitCode = status ?? 1
})
