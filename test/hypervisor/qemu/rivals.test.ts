/** mover beside others in one QEMU: another mover, other tools, and what is not for mover to touch. */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { QmpClient } from '../../../src/hypervisor/qemu/qmp-client.js'
import { backedUpDisk, differenceFrom, machineScene } from '../../support/machine-scene.js'
import {
  bitmapsOf,
  leftoversOf,
  startDaemon,
  startMachine,
  type TestMachine,
} from '../../support/qemu.js'
import { socketPath } from '../../support/nbd-servers.js'
import { makeRepository } from '../../support/repository.js'
import { makeVolume, MiB } from '../../support/volumes.js'

const MONITORS = ['-qmp', 'unix:second,server=on,wait=off']

/** A machine that has a second monitor to give to a second mover. */
async function scene(t: Parameters<typeof machineScene>[0]) {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 16 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  const second = socketPath(t)
  const args = MONITORS.map(word => word.replace('second', second))
  const machine = await startMachine(t, [{ node: 'disk0', file: image }], args)
  const rival: Pick<TestMachine, 'socket' | 'scratch'> = { ...machine, socket: second }
  return { dir, image, machine, rival, repository: await makeRepository(t, join(dir, 'repo')) }
}

t.test('two movers on one disk: the second is refused, and the first goes on', async t => {
  const { machine, rival, repository, image } = await scene(t)
  await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const result = await backedUpDisk(machine, {
    repository,
    meanwhile: async () => {
      await t.rejects(backedUpDisk(rival, { repository }), {
        code: 'HYPERVISOR_REFUSED',
        retryable: true,
        message: /another mover is backing up 'disk0'/,
      })
    },
  })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result }), '')
  t.match(await backedUpDisk(rival, { repository }), { mode: 'incremental', bytes: { read: 0 } })
})

t.test('bitmaps, exports and an NBD server of others are not touched', async t => {
  const { machine, repository, image } = await scene(t)
  const { qmp } = machine
  const path = socketPath(t)
  await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } })
  await qmp.execute('block-dirty-bitmap-add', { node: 'disk0', name: 'backup-sda' })
  const theirs = { type: 'nbd', id: 'theirs', 'node-name': 'disk0' }
  await qmp.execute('block-export-add', theirs)
  await t.rejects(backedUpDisk(machine, { repository }), {
    code: 'HYPERVISOR_REFUSED',
    remedy: /--nbd-socket/,
  })
  t.strictSame(await leftoversOf(qmp), [])
  t.strictSame(await bitmapsOf(qmp, 'disk0'), ['backup-sda+'])

  const options = { nbdSocket: path }
  await backedUpDisk(machine, { repository, options })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const result = await backedUpDisk(machine, { repository, options })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result }), '')
  const bitmaps = await bitmapsOf(qmp, 'disk0')
  t.strictSame(bitmaps.sort(), ['backup-sda+', `${result.checkpoint}+`])
  t.match(await qmp.execute('query-block-exports'), [{ id: 'theirs' }])
})

t.test('a storage daemon is a machine as well', async t => {
  const { dir, repository } = await scene(t)

  const image = join(dir, 'other.qcow2')
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', join(dir, 'raw'), image])
  const daemon = await startDaemon(t, image)
  const options = { nbdSocket: daemon.nbdSocket }
  await backedUpDisk(daemon, { repository, options })
  daemon.guest('write -P 0x11 3M 64k', 'flush')
  const result = await backedUpDisk(daemon, {
    repository,
    options,
    meanwhile: async () => daemon.guest('write -P 0x12 3M 64k', 'write -P 0x13 4M 64k'),
  })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  daemon.guest('flush')
  const last = await backedUpDisk(daemon, { repository, options })
  t.match(last, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  t.equal(await differenceFrom(image, { repository, result: last }), '')
})

t.test('a job that somebody ends makes the view void, and the backup fail', async t => {
  const { machine, repository, image } = await machineScene(t)
  const full = await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const meanwhile = async () => {
    const [job] = (await machine.qmp.execute('query-jobs')) as { id: string }[]
    await machine.qmp.execute('job-cancel', { id: job?.id })
    await machine.guest('disk0', 'write -P 0x12 1M 64k')
    await sleep(100)
  }
  await t.rejects(backedUpDisk(machine, { repository, meanwhile }), { code: 'SOURCE_CHANGED' })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${full.checkpoint}+`])
  await machine.guest('disk0', 'flush')
  const result = await backedUpDisk(machine, { repository })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result }), '')
  t.equal((await repository.manifests()).length, 2)
})

t.test('a cancelled backup gives the old checkpoint back, whole', async t => {
  const { machine, repository, image } = await machineScene(t)
  const full = await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const controller = new AbortController()
  const meanwhile = async () => {
    await machine.guest('disk0', 'write -P 0x12 9M 64k')
    controller.abort()
  }
  const { signal } = controller
  await t.rejects(backedUpDisk(machine, { repository, meanwhile, signal }), { code: 'CANCELLED' })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${full.checkpoint}+`])
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.strictSame(readdirSync(machine.scratch).sort(), ['own', 'qmp'])
  await machine.guest('disk0', 'flush')
  const result = await backedUpDisk(machine, { repository })
  t.match(result, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  t.equal(await differenceFrom(image, { repository, result }), '')
})

t.test('a disk that cannot be read is an error, and no bytes (A10)', async t => {
  const dir = t.testdir({})
  const file = join(dir, 'disk')
  await makeVolume(file, { bytes: 4 * MiB, seed: 8 })
  const repository = await makeRepository(t, join(dir, 'repo'))
  const once = { event: 'none', iotype: 'read', errno: 5, sector: 2048, once: true }
  const image = { driver: 'file', filename: file }
  const below = { driver: 'blkdebug', image, 'inject-error': [once] }
  const disk = { driver: 'raw', 'node-name': 'disk0', file: below }
  const machine = await startMachine(t, [], ['-blockdev', JSON.stringify(disk)])
  await t.rejects(backedUpDisk(machine, { repository }), { code: 'SOURCE_FAILED' })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [])
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.strictSame(await repository.manifests(), [])
  const result = await backedUpDisk(machine, { repository })
  t.equal(await differenceFrom(file, { repository, result, format: 'raw' }), '')
})

/** QEMU 7.2 ended with a failed assertion when it was asked for its nodes while it made a qcow2 file. */
t.test('whoever asks for nodes all the while does not bring the machine down', async t => {
  const { machine, rival, repository } = await scene(t)
  await using other = await QmpClient.open(rival.socket)
  const over = new AbortController()
  const asking = (async () => {
    while (!over.signal.aborted) await other.execute('query-named-block-nodes', { flat: true })
  })()
  for (let round = 0; round < 8; round += 1) await backedUpDisk(machine, { repository })
  over.abort()
  await asking
  t.equal(machine.child.exitCode, null)
})
