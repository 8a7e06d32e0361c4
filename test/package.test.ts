/** What a user of the library gets: the package, installed into an empty project, used from TypeScript. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { projectFolder } from './support/project-folder.js'
import { randomBytes, seededRandom } from './support/random.js'

const runFile = promisify(execFile)

const PROGRAM = `
import { readFile, writeFile } from 'node:fs/promises'
import { backup, initRepository, MoverError, openRepository, restore } from 'mover'
import type { BackupResult, MoverEvent } from 'mover'

await initRepository('repository')
await using repository = await openRepository('repository')
const events: MoverEvent[] = []
const result: BackupResult = await (async () => {
  await using job = backup({ source: 'volume.img', repository, volume: 'vm-42/sda' })
  for await (const event of job.events) events.push(event)
  return await job.result
})()
if (result.manifest === null) throw new Error('no manifest')
await restore({ repository, manifest: result.manifest, target: 'restored.img' }).result

const restoredTwice = await restore({ repository, manifest: 'latest', target: 'restored.img' }).result.then(
  () => null,
  (error: unknown) => (error instanceof MoverError ? error.code : 'something else'),
)
// @ts-expect-error: a source has to be named
const wrong: Parameters<typeof backup>[0] = { repository, volume: 'vm-42/sda' }
console.log(JSON.stringify({ mode: result.mode, events: events.length > 0, restoredTwice, wrong: wrong.volume }))
`

t.test('npm pack, installed into an empty project, works from TypeScript', async t => {
  const folder = t.testdir({
    'package.json': JSON.stringify({ name: 'user', private: true, type: 'module' }),
    'program.ts': PROGRAM,
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        target: 'es2022',
        lib: ['es2023', 'esnext.disposable'],
        module: 'nodenext',
        strict: true,
        types: ['node'],
        typeRoots: [join(projectFolder, 'node_modules', '@types')],
      },
      include: ['program.ts'],
    }),
  })
  const packed = await runFile('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: projectFolder,
  })
  const tarball = packed.stdout.trim().split('\n').at(-1) ?? ''
  const options = { cwd: folder, env: { ...process.env, ...nodeHeaders() } }
  await runFile('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', tarball], options)

  const compiler = join(projectFolder, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = await runFile(process.execPath, [compiler, '-p', folder], options).catch(
    (error: unknown) => error as { stdout: string },
  )
  t.equal(compiled.stdout, '', 'the types of the package are its own and right')

  const volume = Buffer.concat([randomBytes(seededRandom(1), 300_000), Buffer.alloc(200_000)])
  await writeFile(join(folder, 'volume.img'), volume)
  const { stdout } = await runFile(process.execPath, ['program.js'], { cwd: folder })
  t.strictSame(JSON.parse(stdout), {
    mode: 'full',
    events: true,
    restoredTwice: 'TARGET_EXISTS',
    wrong: 'vm-42/sda',
  })
  t.ok(volume.equals(await readFile(join(folder, 'restored.img'))), 'every byte came back')
})

/** Where this Node's headers lie beside it, node-gyp need not fetch them for fs-ext. */
function nodeHeaders(): Record<string, string> {
  const prefix = dirname(dirname(process.execPath))
  return existsSync(join(prefix, 'include', 'node', 'node.h')) ? { npm_config_nodedir: prefix } : {}
}
