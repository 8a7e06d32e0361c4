/** The programs of examples/ do what they say, with the package under its own name. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { recordDoubt } from '../src/manifest/doubts.js'
import { projectFolder } from './support/project-folder.js'
import { defineDomain, domainXml, guestIo, makeImage, startLibvirtd } from './support/libvirtd.js'
import { reopen } from './support/repository.js'
import { bitmapOfWrites, changeVolume, cmp, KiB, makeVolume, MiB } from './support/volumes.js'

const runFile = promisify(execFile)

async function example(name: string, ...args: readonly string[]): Promise<string> {
  return (await runFile(process.execPath, [scriptOf(name), ...args])).stdout
}

async function warningsOf(name: string, ...args: readonly string[]): Promise<string> {
  return (await runFile(process.execPath, [scriptOf(name), ...args])).stderr
}

function scriptOf(name: string): string {
  return join(projectFolder, 'build', 'examples', `${name}.js`)
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
  const doubt = { volume: 'vm/sda', fullyRead: monday?.id ?? '', slots: 1 }
  await recordDoubt(opened, { ...doubt, createdMs: Date.now(), writer: 'a test' })
  t.match(await warningsOf('watch-repository', repository), /may miss changes/)

  t.match(await example('restore-state', repository, 'vm/sda@latest', target), /^wrote [1-9]/)
  t.equal(await cmp(volume, target), '')
  await example('restore-state', repository, monday?.id ?? '', target)
  t.not(await cmp(volume, target), '', 'the target is back in the state of Monday')
})

t.test('an example protects a domain of libvirt', async t => {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const disks = ['vda', 'vdb'].map(target => ({ target, path: join(folder, `${target}.qcow2`) }))
  for (const { path } of disks) await makeImage(path, '16M')
  await defineDomain(libvirtd, domainXml('vm 1', disks))
  await guestIo(libvirtd, 'vm 1', 'write -P 0x11 1M 1M')
  const words = [join(folder, 'repository'), `libvirt:vm%201?socket=${socket}`, folder] as const
  t.match(
    await example('protect-domain', ...words),
    /^vm 1\/vda: full [0-9a-f]{64}, read \d+, stored \d+\nvm 1\/vdb: full /,
  )
  await guestIo(libvirtd, 'vm 1', 'write -P 0x22 4M 64k')
  t.match(
    await example('protect-domain', ...words),
    /^vm 1\/vda: incremental [0-9a-f]{64}, read 65536, stored 65536\nvm 1\/vdb: incremental /,
  )
})

t.test('the example that protects daily ends well when it is stopped', async t => {
  const later = new Date(Date.now() + 12 * 3_600_000).toTimeString().slice(0, 5)
  const words = [
    scriptOf('protect-domain'),
    join(t.testdir(), 'repository'),
    'libvirt:vm',
    '/nowhere',
    later,
  ]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  t.match(String(said), `waits until ${later}`)
  child.kill('SIGTERM')
  t.strictSame(await ended, [0, null])
})
