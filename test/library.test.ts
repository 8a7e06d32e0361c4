/** What an orchestrator relies on when mover runs inside its own process. */
import { execFile } from 'node:child_process'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { backup, MoverError, restore, verify } from '../src/index.js'
import { projectFolder } from './support/project-folder.js'
import { backedUp, makeRepository, restored } from './support/repository.js'
import { cmp, makeVolume, MiB } from './support/volumes.js'

t.test('two repositories and several jobs run at once in one process', async t => {
  const folder = t.testdir()
  const volumes = await Promise.all(
    [1, 2, 3].map(async seed => {
      const path = join(folder, `${seed}.img`)
      await makeVolume(path, { bytes: 12 * MiB + seed * 512, seed })
      return path
    }),
  )
  const repositories = [
    await makeRepository(t, join(folder, 'a')),
    await makeRepository(t, join(folder, 'b'), { codec: 'zstd', chunkBytes: 16384 }),
  ]
  const jobs = repositories.flatMap((repository, which) =>
    volumes.map(async (source, number) => {
      const { manifest } = await backedUp({ source, repository, volume: `v${number}` })
      const target = join(folder, `${which}-${number}.out`)
      await restored({ repository, manifest: manifest ?? '', target })
      return cmp(source, target)
    }),
  )
  t.strictSame(
    await Promise.all(jobs),
    Array.from(jobs, () => ''),
  )
  for (const repository of repositories) {
    const { damage, manifests } = await verify({ repository }).result
    t.strictSame({ damage, manifests }, { damage: [], manifests: 3 })
  }
})

t.test('a signal cancels within a second and leaves nothing behind', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: 64 * MiB, seed: 4 })
  const repository = await makeRepository(t, join(folder, 'r'))
  const stop = new AbortController()
  const job = backup({
    source,
    repository,
    volume: 'v',
    // At this rate the whole would take a minute.
    bytesPerSecond: MiB,
    signal: stop.signal,
  })
  await new Promise(resolve => setTimeout(resolve, 500))
  const startedMs = performance.now()
  stop.abort()
  await t.rejects(job.result, { code: 'CANCELLED' })
  t.ok(performance.now() - startedMs < 1000, 'within a second')
  t.strictSame(await repository.manifests(), [])
  t.strictSame(await readdir(join(folder, 'r', 'sessions')), [])
  t.strictSame(await readdir(join(folder, 'r', 'tmp')), [])
})

t.test('leaving the scope of a job cancels it and waits for its end', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: 64 * MiB, seed: 5 })
  const repository = await makeRepository(t, join(folder, 'r'))
  {
    await using _job = backup({ source, repository, volume: 'v', bytesPerSecond: MiB })
  }
  t.strictSame(await readdir(join(folder, 'r', 'sessions')), [])
})

t.test('an aborted signal starts nothing, and a failed restore leaves no file', async t => {
  const folder = t.testdir()
  const source = join(folder, 'v.img')
  await makeVolume(source, { bytes: MiB, seed: 6 })
  const repository = await makeRepository(t, join(folder, 'r'))
  const signal = AbortSignal.abort()
  await t.rejects(backup({ source, repository, volume: 'v', signal }).result, MoverError)
  const { manifest } = await backedUp({ source, repository, volume: 'v' })
  const target = join(folder, 'out.img')
  await t.rejects(restore({ repository, manifest: manifest ?? '', target, signal }).result, {
    code: 'CANCELLED',
  })
  t.strictSame((await readdir(folder)).sort(), ['r', 'v.img'])
})

const PROGRAM = `
import { backup, initRepository, openRepository, restore, verify } from 'mover'
await initRepository('r')
const repository = await openRepository('r')
const { manifest } = await backup({ source: 'v.img', repository, volume: 'v', workers: 2 }).result
await restore({ repository, manifest, target: 'out.img', workers: 2, readBack: true }).result
await verify({ repository }).result
await backup({ source: 'none.img', repository, volume: 'v' }).result.catch(() => {})
await repository[Symbol.asyncDispose]()
`

t.test('a process that uses the library prints nothing and ends by itself', async t => {
  const folder = t.testdir()
  await makeVolume(join(folder, 'v.img'), { bytes: 8 * MiB, seed: 7 })
  // Inside the package's own folder, so that its name leads to it.
  const script = join(projectFolder, 'build', `library-${process.pid}.mjs`)
  await writeFile(script, PROGRAM)
  t.teardown(() => promisify(execFile)('rm', ['-f', script]))
  const run = promisify(execFile)(process.execPath, [script], { cwd: folder, timeout: 60_000 })
  t.strictSame(await run, { stdout: '', stderr: '' })
  t.equal(await cmp(join(folder, 'v.img'), join(folder, 'out.img')), '')
})
