/** What QEMU exports at its worst: each ends in an error that commits nothing, or in the right bytes. */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { QmpClient } from '../../src/hypervisor/qemu/qmp-client.js'
import { nbdChanges } from '../../src/source/nbd-changes.js'
import { openChanges } from '../../src/source/open-changes.js'
import { openSource } from '../../src/source/open-source.js'
import { said } from '../support/extents.js'
import { differenceFrom, machineScene, VOLUME } from '../support/machine-scene.js'
import { compareImages, qemuNbd, socketPath, uriOf } from '../support/nbd-servers.js'
import { addBitmap, createImage, guest, poke, qemuImg } from '../support/qcow2-images.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { GiB, KiB, makeVolume, MiB, TiB } from '../support/volumes.js'

/** A machine that serves on a socket of its own. */
async function serving(t: Test) {
  const scene = await machineScene(t)
  const path = socketPath(t)
  await scene.machine.qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } })
  return { ...scene, uri: (name: string) => uriOf(path, name) }
}

/** QEMU refuses an enabled bitmap on a read-only export only where it is named without its node. */
t.test('a bitmap that still records is found out when it moves, and nothing is kept', async t => {
  const { machine, image, repository, uri } = await serving(t)
  const { qmp } = machine
  const exported = { type: 'nbd', id: 'live', 'node-name': 'disk0', name: 'live', writable: false }
  const bitmap = { node: 'disk0', name: 'monday' }
  await qmp.execute('block-dirty-bitmap-add', bitmap)
  await qmp.execute('block-export-add', { ...exported, bitmaps: [bitmap] })
  const options = { repository, volume: VOLUME, source: uri('live') }
  await backedUp({ ...options, checkpoint: 'monday' })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')

  const changes = () => openChanges(`${uri('live')},bitmap=monday,since=monday`)
  /** A source that is written to when it has been read. */
  const written = async (command: string) => {
    const opened = await openSource(uri('live'))
    const checkUnchanged = () => machine.guest('disk0', command, 'flush')
    return { ...opened, checkUnchanged }
  }
  const before = await repository.manifests(VOLUME)
  await using source = await written('write -P 0x12 9M 64k')
  await t.rejects(backedUp({ ...options, source, changes: await changes() }), {
    code: 'SOURCE_CHANGED',
    message: /monday at .* still records/,
    remedy: /disable its bitmap/,
  })
  t.strictSame(await repository.manifests(VOLUME), before)

  await qmp.execute('block-export-del', { id: 'live', mode: 'hard' })
  // A bitmap is busy for as long as it is exported.
  while ((await exportsOf(qmp)).length > 0) await sleep(20)
  await qmp.execute('block-dirty-bitmap-disable', bitmap)
  await qmp.execute('block-export-add', { ...exported, bitmaps: [bitmap] })
  const result = await backedUp({ ...options, changes: await changes() })
  t.match(result, { mode: 'incremental', bytes: { read: 2 * 64 * KiB } })
  t.equal(await differenceFrom(image, { repository, result }), '')
})

async function exportsOf(qmp: QmpClient): Promise<readonly unknown[]> {
  return (await qmp.execute('query-block-exports')) as unknown[]
}

/** The guest goes on, and whatever was to be read of the view is an error from then on. */
t.test('a view that is given up for the guest is no volume any more', async t => {
  const { dir, machine, image, repository, uri } = await serving(t)
  const { qmp } = machine
  const target = join(dir, 'target')
  execFileSync('truncate', ['-s', '16M', target])
  const full = { event: 'none', iotype: 'write', errno: 28, sector: 8 * 2048 }
  const file = { driver: 'file', filename: target }
  const kept = { driver: 'blkdebug', image: file, 'inject-error': [full], 'node-name': 'kept' }
  await qmp.execute('blockdev-add', kept)
  const filter = { driver: 'copy-before-write', file: 'disk0', target: 'kept' }
  const rule = { 'on-cbw-error': 'break-snapshot' }
  await qmp.execute('blockdev-add', { ...filter, ...rule, 'node-name': 'filter' })
  const drive = { path: '/machine/peripheral/dev-disk0/virtio-backend', property: 'drive' }
  await qmp.execute('qom-set', { ...drive, value: 'filter' })
  await qmp.execute('blockdev-add', {
    ...{ driver: 'snapshot-access', file: 'filter', 'node-name': 'view' },
  })
  const exported = { type: 'nbd', id: 'view', 'node-name': 'view', name: 'view', writable: false }
  await qmp.execute('block-export-add', exported)

  const options = { repository, volume: VOLUME }
  await using before = await openSource(uri('view'))
  await machine.guest('disk0', 'write -P 0x11 1M 64k')
  const held = await backedUp({ ...options, source: before, full: true })
  t.equal((await repository.manifests(VOLUME)).length, 1, 'it holds as long as there is room')
  await machine.guest('disk0', 'write -P 0x12 8M 64k', 'flush')
  for (const readHoles of [true, false]) {
    const failed = backedUp({ ...options, source: before, readHoles })
    await t.rejects(failed, { code: 'SOURCE_FAILED', details: { os: 'EINVAL' } })
  }
  await t.rejects(backedUp({ ...options, source: uri('view') }), { code: /^SOURCE_/ })
  t.match(await repository.manifests(VOLUME), [{ id: held.manifest }], 'nothing was added')

  await qmp.execute('block-export-del', { id: 'view', mode: 'hard' })
  const disk = { type: 'nbd', id: 'disk', 'node-name': 'disk0', name: 'disk', writable: false }
  await qmp.execute('block-export-add', disk)
  const result = await backedUp({ ...options, source: uri('disk') })
  t.equal(await differenceFrom(image, { repository, result }), '', "the guest's writes are whole")
})

/** A reply has at most 131,072 extents: this map needs two. */
t.test('a map that QEMU cuts off is asked for again from there', async t => {
  const dir = t.testdir({})
  const [image, target] = [join(dir, 'disk.qcow2'), join(dir, 'restored')]
  createImage(image, '1G')
  addBitmap(image, 'monday', '4k')
  const repository = await makeRepository(t, join(dir, 'repo'))
  const options = { repository, volume: VOLUME }
  await backedUp({ ...options, source: `qcow2:${image}`, checkpoint: 'monday' })
  guest(image, 'write -P 1 0 4k', 'write -P 2 536870912 4k', 'write -P 3 1073733632 4k')
  makeChequered(image)

  const { uri } = await qemuNbd(t, image, {
    format: 'qcow2',
    args: ['-r', '-e', '5', '-B', 'monday'],
  })
  const volume = { volumeBytes: GiB, parentVolumeBytes: GiB }
  const { extents } = await nbdChanges({ uri, bitmap: 'monday' }).changed(volume)
  const all = await said(extents)
  t.equal(all.length, 2 ** 18)
  t.equal(all.at(-2), `data ${GiB - 8 * KiB}+4096`)
  const changes = await openChanges(`${uri},bitmap=monday,since=monday`)
  const result = await backedUp({ ...options, source: uri, changes })
  t.match(result, { mode: 'incremental', bytes: { read: 3 * 64 * KiB } })
  await restored({ repository, manifest: idOf(result), target })
  await compareImages(['raw', target], ['qcow2', image])
})

/** Every other bit of the only bitmap, whose bits have a cluster to themselves: more than was written. */
function makeChequered(image: string): void {
  const written = Buffer.alloc(32 * KiB)
  for (const bit of [0, 131_072, 262_142]) written.writeUInt8(2 ** (bit % 8), Math.floor(bit / 8))
  const found = execFileSync('cat', [image], { maxBuffer: 64 * MiB }).indexOf(written)
  if (found < 0 || found % (64 * KiB) !== 0) throw new Error(`the bits are not at ${found}`)
  poke(image, found, Buffer.alloc(32 * KiB, 0x55))
}

t.test('granules smaller than a chunk, and larger', async t => {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 16 * MiB, seed: 23 })
  for (const [granularity, chunkBytes] of [
    ['512', 64 * KiB],
    ['4k', 128 * KiB],
    ['2M', 16 * KiB],
    ['32M', 64 * KiB],
  ] as const) {
    t.test(`${granularity} in chunks of ${chunkBytes}`, async t => {
      rmSync(image, { force: true })
      qemuImg('convert', '-O', 'qcow2', raw, image)
      addBitmap(image, 'monday', granularity)
      const repository = await makeRepository(t, join(dir, `repo-${granularity}`), { chunkBytes })
      const options = { repository, volume: VOLUME, source: `qcow2:${image}` }
      await backedUp({ ...options, checkpoint: 'monday' })
      guest(
        image,
        'write -P 1 3145216 1k',
        'write -z 5M 512',
        'discard 9M 1M',
        'write 16776704 512',
      )
      const { uri } = await qemuNbd(t, image, { format: 'qcow2', args: ['-r', '-B', 'monday'] })
      const results = []
      for (const spec of [`qcow2:${image}`, uri]) {
        const changes = await openChanges(`${spec},bitmap=monday,since=monday`)
        const result = await backedUp({ ...options, changes })
        t.match(result, { mode: /^(incremental|differential)$/, reason: null })
        t.equal(await differenceFrom(image, { repository, result }), '')
        results.push(result)
      }
      t.equal(results[1]?.root, results[0]?.root, 'from the image as from a server')
    })
  }
})

t.test('a disk of 6 TiB, changed beyond 4 GiB and at its end', async t => {
  const dir = t.testdir({})
  const [image, target] = [join(dir, 'disk.qcow2'), join(dir, 'restored.qcow2')]
  createImage(image, '6T')
  guest(image, 'write -P 1 4095M 2M', 'write -P 2 3T 1M')
  addBitmap(image, 'monday')
  const repository = await makeRepository(t, join(dir, 'repo'))
  const options = { repository, volume: VOLUME }
  await backedUp({ ...options, source: `qcow2:${image}`, checkpoint: 'monday' })
  const last = 6 * TiB - 512
  guest(image, 'write -P 3 4G 64k', 'write -z 3T 64k', `write -P 4 ${last} 512`)
  const { uri } = await qemuNbd(t, image, {
    format: 'qcow2',
    args: ['-r', '-e', '5', '-B', 'monday'],
  })
  const changes = await openChanges(`${uri},bitmap=monday,since=monday`)
  const result = await backedUp({ ...options, source: uri, changes })
  t.match(result, { mode: 'incremental', bytes: { volume: 6 * TiB, read: 2 * 64 * KiB } })
  await restored({ repository, manifest: idOf(result), target: `qcow2:${target}` })
  await compareImages(['qcow2', target], ['qcow2', image])
})
