/** What is said of the tracking of a running QEMU, and that its next backup does just that. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { cbtStatus, type CbtMachineStatus } from '../../../src/cbt-status.js'
import { backedUpDisk, machineScene } from '../../support/machine-scene.js'
import { startMachine, type TestMachine } from '../../support/qemu.js'
import { socketPath } from '../../support/nbd-servers.js'
import { makeRepository } from '../../support/repository.js'
import { makeVolume, MiB } from '../../support/volumes.js'

/** Asks, and sees that nothing is another after it. */
async function statusOf(
  t: Parameters<typeof machineScene>[0],
  { socket, qmp }: Pick<TestMachine, 'socket' | 'qmp'>,
  disks = 'disk0',
) {
  const look = async () => {
    const nodes = await qmp.execute('query-named-block-nodes', { flat: true })
    return [nodes, await qmp.execute('query-jobs'), await qmp.execute('query-block-exports')]
  }
  const before = await look()
  const status = (await cbtStatus({ source: `qmp:${socket}/${disks}` })) as CbtMachineStatus
  t.strictSame(await look(), before, 'nothing is changed')
  return status
}

t.test('from the first backup on, and by whom each bitmap was made', async t => {
  const { machine, repository } = await machineScene(t)
  t.match(await statusOf(t, machine, 'dev-disk0'), {
    operation: 'cbt-status-machine',
    machine: `qmp:${machine.socket}/dev-disk0`,
    disks: [
      {
        name: 'dev-disk0',
        volumeBytes: 16 * MiB,
        trackers: [],
        reason: 'no-bitmap',
        remedy: 'nothing: the next backup reads all of it, and tracks it from there',
      },
    ],
  })
  const full = await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const theirs = { node: 'disk0', name: 'theirs', granularity: 4096 }
  await machine.qmp.execute('block-dirty-bitmap-add', theirs)
  const own = {
    kind: 'qemu-bitmap',
    name: full.checkpoint,
    isOwn: true,
    granularityBytes: 65_536,
    dirtyBytes: 65_536,
    flags: ['recording', 'persistent'],
    health: 'superset',
    reason: null,
    changes: null,
    remedy: null,
  }
  const found = await statusOf(t, machine)
  t.strictSame(
    found.disks[0]?.trackers.find(({ isOwn }) => isOwn),
    own,
  )
  t.match(
    found.disks[0]?.trackers.find(({ name }) => name === 'theirs'),
    {
      isOwn: false,
      granularityBytes: 4096,
      flags: ['recording'],
      remedy: /neither uses nor removes it/,
    },
  )
  t.match(found.disks, [{ reason: null, remedy: null }])
  t.match(await backedUpDisk(machine, { repository }), { mode: 'incremental' })
})

t.test('while a backup is under way', async t => {
  const dir = t.testdir({})
  const file = join(dir, 'disk')
  await makeVolume(file, { bytes: 4 * MiB, seed: 8 })
  const second = socketPath(t)
  const disk = { node: 'disk0', file, format: 'raw' } as const
  const machine = await startMachine(t, [disk], ['-qmp', `unix:${second},server=on,wait=off`])
  const repository = await makeRepository(t, join(dir, 'repo'))
  const full = await backedUpDisk(machine, { repository })
  const before = await statusOf(t, machine)
  t.match(before.disks, [{ trackers: [{ flags: ['recording'], remedy: /until QEMU ends/ }] }])
  const during: CbtMachineStatus[] = []
  const meanwhile = async () => during.push(await statusOf(t, { ...machine, socket: second }))
  const next = await backedUpDisk(machine, { repository, meanwhile })
  const trackers = during[0]?.disks[0]?.trackers
  t.match(
    trackers?.find(({ name }) => name === full.checkpoint),
    {
      flags: ['busy'],
      health: 'superset',
      remedy: /under way, or was killed/,
    },
  )
  t.match(
    trackers?.find(({ name }) => name === next.checkpoint),
    { flags: ['recording'] },
  )
})

t.test('what is lost, and the rescan that is foretold', async t => {
  const { machine, repository, image } = await machineScene(t)
  const full = await backedUpDisk(machine, { repository })
  const bitmap = { node: 'disk0', name: full.checkpoint }
  await machine.qmp.execute('block-dirty-bitmap-disable', bitmap)
  const lost = { isOwn: true, health: 'lost', dirtyBytes: null, remedy: /reads the disk whole/ }
  t.match((await statusOf(t, machine)).disks, [
    { trackers: [{ ...lost, reason: 'bitmap-disabled', flags: ['persistent'] }] },
  ])
  t.match(await backedUpDisk(machine, { repository }), {
    mode: 'rescan',
    reason: 'bitmap-disabled',
  })
  await machine.quit()
  const killed = await startMachine(t, [{ node: 'disk0', file: image }])
  await killed.guest('disk0', 'write -P 0x12 7M 64k', 'flush')
  await killed.kill()
  const next = await startMachine(t, [{ node: 'disk0', file: image }])
  t.match((await statusOf(t, next)).disks, [
    {
      trackers: [{ ...lost, reason: 'bitmap-inconsistent', flags: ['persistent', 'inconsistent'] }],
    },
  ])
  t.match(await backedUpDisk(next, { repository }), {
    mode: 'rescan',
    reason: 'bitmap-inconsistent',
  })
})

t.test('disks of which a backup would be refused', async t => {
  const dir = t.testdir({})
  const [file, base, overlay] = [join(dir, 'raw'), join(dir, 'base'), join(dir, 'overlay')]
  await makeVolume(file, { bytes: MiB, seed: 8 })
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', base, '1M'])
  const backing = ['-F', 'qcow2', '-b', base]
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, overlay])
  const below = { driver: 'qcow2', 'node-name': 'below', 'read-only': true }
  const drive = { driver: 'qcow2', 'node-name': 'disk1', backing: 'below' }
  const machine = await startMachine(
    t,
    [{ node: 'disk0', file, format: 'raw', hasThread: true }],
    [
      ...['-blockdev', JSON.stringify({ ...below, file: { driver: 'file', filename: base } })],
      ...['-blockdev', JSON.stringify({ ...drive, file: { driver: 'file', filename: overlay } })],
      ...['-device', 'virtio-blk-pci,drive=disk1,id=dev-disk1'],
    ],
  )
  t.match((await statusOf(t, machine, 'disk0,disk0-file,below,disk1')).disks, [
    { name: 'disk0', trackers: [], reason: /'disk0' is served by an iothread/ },
    { name: 'disk0-file', trackers: [], reason: /is the file in which 'disk0' keeps its disk/ },
    { name: 'below', trackers: [], reason: /'below' is the backing of 'disk1'/ },
    { name: 'disk1', trackers: [] },
  ])
  await t.rejects(cbtStatus({ source: `qmp:${machine.socket}/none` }), {
    code: 'SOURCE_UNUSABLE',
  })
})
