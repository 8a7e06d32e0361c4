import { execFileSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { nbdChanges } from '../../src/source/nbd-changes.js'
import { openChanges } from '../../src/source/open-changes.js'
import { openSource } from '../../src/source/open-source.js'
import { gather } from '../support/gather.js'
import { nbdkit, qemuNbd, socketPath, uriOf } from '../support/nbd-servers.js'
import { said } from '../support/extents.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { cmp, GiB, makeVolume, MiB, TiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

/** A qcow2 with a dirty bitmap that counts from now on. */
function withBitmap(image: string, bitmap: string, granularity = '64k'): void {
  execFileSync('qemu-img', ['bitmap', '--add', '-g', granularity, image, bitmap])
}

/** What a guest does to its disk; QEMU's tracker sees it. */
function guest(image: string, ...commands: readonly string[]): void {
  const args = commands.flatMap(command => ['-c', command])
  execFileSync('qemu-io', ['-f', 'qcow2', ...args, image])
}

/** A qcow2 of 32 MiB with data, its bitmap `monday` new. */
async function scene(t: Test) {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'volume'), join(dir, 'volume.qcow2')]
  await makeVolume(raw, { bytes: 32 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  withBitmap(image, 'monday')
  return { dir, raw, image, repository: await makeRepository(t, join(dir, 'repo')) }
}

function withOption(uri: string, rest: string): string {
  return `${uri},${rest}`
}

/** Virtnbdbackup and others left out what is dirty and zero, and restored the old bytes. */
t.test('an incremental reads what the bitmap names, and what was zeroed is zero', async t => {
  const { dir, raw, image, repository } = await scene(t)
  const full = await qemuNbd(t, image, { format: 'qcow2', args: ['-r'] })
  await backedUp({ source: full.uri, repository, volume: VOLUME, checkpoint: 'monday' })
  full.child.kill('SIGKILL')

  guest(image, 'write -P 0x11 1M 64k', 'write -z -u 5M 1M', 'discard 9M 2M', 'write -P 7 31M 1M')
  const { uri } = await qemuNbd(t, image, {
    format: 'qcow2',
    args: ['-r', '-e', '2', '-B', 'monday'],
  })
  const changes = await openChanges(withOption(uri, 'bitmap=monday,since=monday'))
  const result = await backedUp({ source: uri, repository, volume: VOLUME, changes, audit: 'off' })
  t.equal(result.mode, 'incremental')
  t.equal(result.bytes.read, MiB + 65_536, 'dirty data is read, and dirty holes are zero')
  const target = join(dir, 'restored')
  await restored({ repository, manifest: idOf(result), target })
  execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, raw])
  t.equal(await cmp(target, raw), '')
})

t.test('the map over NBD, the bytes from the device beside it', async t => {
  const dir = t.testdir({})
  const [device, shell] = [join(dir, 'device'), join(dir, 'shell.qcow2')]
  await makeVolume(device, { bytes: 16 * MiB, seed: 9 })
  const data = `data_file=${device},data_file_raw=on`
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', data, shell, '16M'])
  await makeVolume(device, { bytes: 16 * MiB, seed: 9 })
  withBitmap(shell, 'monday')
  const repository = await makeRepository(t, join(dir, 'repo'))
  await backedUp({ source: device, repository, volume: VOLUME, checkpoint: 'monday' })

  guest(shell, 'write -P 0x11 3M 128k')
  const { uri } = await qemuNbd(t, shell, { format: 'qcow2', args: ['-r', '-B', 'monday'] })
  const changes = nbdChanges({ uri, bitmap: 'monday', since: 'monday' })
  const result = await backedUp({ source: device, repository, volume: VOLUME, changes })
  t.match(result, { mode: 'incremental', reason: null })
  t.ok(result.bytes.carried > 15 * MiB)
  const target = join(dir, 'restored')
  await restored({ repository, manifest: idOf(result), target })
  t.equal(await cmp(target, device), '')
})

t.test('a map of 6 TiB, in requests of 32 bits', async t => {
  const image = join(t.testdir({}), 'large.qcow2')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '6T'])
  withBitmap(image, 'monday')
  guest(
    image,
    'write 0 64k',
    'write 4G 64k',
    `write ${5 * TiB + 65_536} 64k`,
    `write ${6 * TiB - 512} 512`,
  )
  const { uri } = await qemuNbd(t, image, { format: 'qcow2', args: ['-r', '-B', 'monday'] })
  const volume = { volumeBytes: 6 * TiB, parentVolumeBytes: 6 * TiB }
  const { health, extents } = await nbdChanges({ uri, bitmap: 'monday' }).changed(volume)
  t.strictSame(health, { kind: 'superset' })
  const dirty = (await said(extents)).filter(extent => extent.startsWith('data'))
  t.strictSame(dirty, [
    'data 0+65536',
    `data ${4 * GiB}+65536`,
    `data ${5 * TiB + 65_536}+65536`,
    `data ${6 * TiB - 65_536}+65536`,
  ])
})

/** QEMU cuts a reply after 131,072 extents. */
t.test('more extents than one reply has', async t => {
  const file = join(t.testdir({}), 'fragments')
  const fragments = 70_000
  const handle = await open(file, 'w')
  const noise = Buffer.alloc(4096, 1)
  for (let at = 0; at < fragments; at += 1) await handle.write(noise, 0, 4096, at * 8192 + 4096)
  await handle.close()
  const { uri } = await qemuNbd(t, file, { args: ['-r'] })
  await using source = await openSource(uri)
  const allocated = source.allocated([])
  const extents = allocated === null ? [] : await gather(allocated)
  let offset = 0
  for (const extent of extents) {
    if (extent.offset !== offset) t.fail(`a gap or an overlap at ${offset}`)
    offset += extent.length
  }
  t.equal(offset, fragments * 8192)
  t.equal(extents.length, 2 * fragments)
})

t.test('a bitmap that is not there is an error that names it, never a clean volume', async t => {
  const { image, repository } = await scene(t)
  const { uri } = await qemuNbd(t, image, { format: 'qcow2', args: ['-r', '-e', '2'] })
  const volume = { volumeBytes: 32 * MiB, parentVolumeBytes: 32 * MiB }
  const rows = [
    { uri, bitmap: 'monday', message: /has no context qemu:dirty-bitmap:monday/ },
    { uri: (await nbdkit(t, ['memory', '32M'])).uri, bitmap: 'x', message: /qemu:dirty-bitmap:x/ },
    { uri: uriOf(socketPath(t)), bitmap: 'x', message: /No such file/ },
  ]
  for (const { message, ...spec } of rows) {
    const { extents } = await nbdChanges(spec).changed(volume)
    await t.rejects(said(extents), { code: 'CHANGES_FAILED', stage: 'plan', message })
  }
  const full = await backedUp({ source: uri, repository, volume: VOLUME, checkpoint: 'monday' })
  const changes = nbdChanges({ uri, bitmap: 'monday', since: 'monday' })
  await t.rejects(backedUp({ source: uri, repository, volume: VOLUME, changes }), {
    code: 'CHANGES_FAILED',
  })
  t.equal(full.mode, 'full')
})

t.test('a map of another size is refused, and one of a resized volume not believed', async t => {
  const { image } = await scene(t)
  const { uri } = await qemuNbd(t, image, {
    format: 'qcow2',
    args: ['-r', '-e', '2', '-B', 'monday'],
  })
  const changes = nbdChanges({ uri, bitmap: 'monday' })
  const ask = (volumeBytes: number, parentVolumeBytes: number) =>
    changes.changed({ volumeBytes, parentVolumeBytes })
  const { extents } = await ask(31 * MiB, 31 * MiB)
  await t.rejects(said(extents), { code: 'CHANGES_MALFORMED' })
  t.match(await ask(32 * MiB, 31 * MiB), { health: { kind: 'lost', reason: 'resized' } })
})

t.test('names of maps on servers', async t => {
  const uri = 'nbd+unix:///sda?socket=/run/x'
  const changes = await openChanges(withOption(uri, 'since=ck,bitmap=a,b'))
  t.match(changes, { since: 'ck', name: `a,b at ${uri}` })
  for (const spec of [
    uri,
    withOption(uri, 'since=ck'),
    withOption(uri, 'bitmap='),
    withOption(uri, 'bitmap=a,bitmap=b'),
    withOption('nbd+unix:///sda', 'bitmap=a'),
  ]) {
    await t.rejects(openChanges(spec), { code: 'ARGUMENT_INVALID' }, spec)
  }
})
