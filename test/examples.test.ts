/** The programs of examples/ do what they say, with the package under its own name. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { projectFolder } from './support/project-folder.js'
import { reopen } from './support/repository.js'
import { bitmapOfWrites, changeVolume, cmp, KiB, makeVolume, MiB } from './support/volumes.js'

const runFile = promisify(execFile)

async function example(name: string, ...args: readonly string[]): Promise<string> {
  const script = join(projectFolder, 'build', 'examples', `${name}.js`)
  return (await runFile(process.execPath, [script, ...args])).stdout
}

t.test('the examples back up by a bitmap, look after it, and restore by difference', async t => {
  const folder = t.testdir()
  const [repository, volume, map, target] = ['repository', 'vm.img', 'vm.map', 'out.img'].map(
    name => join(folder, name),
  ) as [string, string, string, string]
  const bytes = 20 * MiB + 512
  await makeVolume(volume, { bytes, seed: 1 })

  t.match(
    await example('nightly-backup', repository, volume, 'vm/sda', 'monday'),
    /^full [0-9a-f]{64}: /,
  )
  const opened = await reopen(t, repository)
  const [monday] = await opened.manifests()
  await runFile('cp', [volume, target])

  const writes = await changeVolume(volume, { seed: 2, writes: 5 })
  const granularityBytes = 64 * KiB
  await writeFile(map, bitmapOfWrites(writes, { granularityBytes, volumeBytes: bytes }))
  const night = await example(
    'nightly-backup',
    repository,
    volume,
    'vm/sda',
    map,
    'monday',
    'tuesday',
  )
  t.match(night, /^incremental /)

  const looked = await example('watch-repository', repository)
  t.match(looked, /vm\/sda: [1-9][0-9]* bytes differ from the state before/)
  t.match(looked, /chunks hold, 0 things are damaged/)

  t.match(await example('restore-state', repository, 'vm/sda@latest', target), /^wrote [1-9]/)
  t.equal(await cmp(volume, target), '')
  await example('restore-state', repository, monday?.id ?? '', target)
  t.not(await cmp(volume, target), '', 'the target is back in the state of Monday')
})
