/**
 * What goes wrong with the tracking of a running QEMU, each against the real thing: every row ends in the
 * right bytes, by an incremental where tracking holds and by a rescan that says why where it does not.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readSync, truncateSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import type { BackupResult } from '../../../src/backup.js'
import {
  backedUpDisk,
  differenceFrom,
  machineScene,
  type MachineScene,
} from '../../support/machine-scene.js'
import { bitmapsOf, leftoversOf, startMachine, type TestMachine } from '../../support/qemu.js'
import { makeRepository } from '../../support/repository.js'
import { makeVolume, MiB } from '../../support/volumes.js'

interface Row {
  readonly name: string
  /** What happens between two backups; gives the machine back that runs then. */
  readonly between: (
    t: Test,
    scene: MachineScene & { readonly full: BackupResult },
  ) => Promise<TestMachine>
  readonly disk?: string
  readonly image?: string
  readonly next: Partial<BackupResult>
}

const restarted = (t: Test, image: string) => startMachine(t, [{ node: 'disk0', file: image }])

const rows: readonly Row[] = [
  {
    name: 'a restart after a shutdown',
    between: async (t, { machine, image }) => {
      await machine.quit()
      const next = await restarted(t, image)
      await next.guest('disk0', 'write -P 0x12 7M 64k')
      return next
    },
    next: { mode: 'incremental', reason: null },
  },
  {
    name: 'a crash of QEMU (A1)',
    between: async (t, { machine, image }) => {
      await machine.guest('disk0', 'flush')
      await machine.kill()
      return restarted(t, image)
    },
    next: { mode: 'rescan', requested: 'incremental', reason: 'no-bitmap' },
  },
  {
    name: 'a crash of QEMU that had the bitmap from its disk (A1)',
    between: async (t, { machine, image }) => {
      await machine.quit()
      const second = await restarted(t, image)
      await second.guest('disk0', 'write -P 0x12 7M 64k', 'flush')
      await second.kill()
      return restarted(t, image)
    },
    next: { mode: 'rescan', requested: 'incremental', reason: 'bitmap-inconsistent' },
  },
  {
    name: 'a writer that knows no bitmaps (A5)',
    between: async (t, { machine, image }) => {
      await machine.quit()
      forgetBitmaps(image)
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x13 6M 64k', image])
      return restarted(t, image)
    },
    next: { mode: 'rescan', reason: 'no-bitmap' },
  },
  {
    name: 'a bitmap that somebody removed',
    between: async (_t, { machine, full }) => {
      const bitmap = { node: 'disk0', name: full.checkpoint }
      await machine.qmp.execute('block-dirty-bitmap-remove', bitmap)
      return machine
    },
    next: { mode: 'rescan', reason: 'no-bitmap' },
  },
  {
    name: 'a bitmap that somebody disabled (A7)',
    between: async (_t, { machine, full }) => {
      const bitmap = { node: 'disk0', name: full.checkpoint }
      await machine.qmp.execute('block-dirty-bitmap-disable', bitmap)
      await machine.guest('disk0', 'write -P 0x14 8M 64k')
      return machine
    },
    next: { mode: 'rescan', reason: 'bitmap-disabled' },
  },
  {
    name: 'a revert to an internal snapshot, which QEMU refuses (A3)',
    between: async (t, { machine }) => {
      const monitor = (line: string) =>
        machine.qmp.execute('human-monitor-command', { 'command-line': line })
      t.equal(await monitor('savevm before'), '')
      await machine.guest('disk0', 'write -P 0x17 8M 64k')
      t.match(await monitor('loadvm before'), /has active dirty bitmaps/)
      return machine
    },
    next: { mode: 'incremental', reason: null },
  },
  {
    name: 'a disk that has grown (A4)',
    between: async (_t, { machine }) => {
      await machine.qmp.execute('block_resize', { 'node-name': 'disk0', size: 20 * MiB })
      await machine.guest('disk0', 'write -P 0x15 18M 64k')
      return machine
    },
    next: { mode: 'rescan', reason: 'resized' },
  },
  {
    name: 'a disk that has shrunk',
    between: async (_t, { machine }) => {
      await machine.qmp.execute('block_resize', { 'node-name': 'disk0', size: 12 * MiB })
      return machine
    },
    next: { mode: 'rescan', reason: 'resized' },
  },
  {
    name: 'an overlay that somebody put on top, asked for by the device (A6)',
    between: async (_t, { machine, dir }) => {
      await putOverlay(machine, join(dir, 'overlay.qcow2'))
      await machine.guest('disk0', 'write -P 0x16 3M 64k')
      return machine
    },
    disk: 'dev-disk0',
    image: 'overlay.qcow2',
    next: { mode: 'rescan', reason: 'bitmap-elsewhere' },
  },
]

for (const { name, between, disk = 'disk0', image, next } of rows) {
  t.test(name, async t => {
    const scene = await machineScene(t)
    const { dir, repository } = scene
    const first = { repository, disks: disk, audit: 'off' as const }
    const full = await backedUpDisk(scene.machine, first)
    await scene.machine.guest('disk0', 'write -P 0x11 1M 64k', 'write -z 2M 1M')
    const machine = await between(t, { ...scene, full })
    await machine.guest('disk0', 'flush')
    const file = image === undefined ? scene.image : join(dir, image)

    const result = await backedUpDisk(machine, first)
    t.match(result, next)
    t.equal(await differenceFrom(file, { repository, result }), '')

    await machine.guest('disk0', 'write -P 0x22 9M 64k', 'flush')
    const last = await backedUpDisk(machine, first)
    t.match(last, { mode: 'incremental', reason: null, bytes: { read: 65_536 } })
    t.equal(await differenceFrom(file, { repository, result: last }), '')
    t.strictSame(await leftoversOf(machine.qmp), [])
  })
}

t.test('a disk below an overlay is not what the guest writes to (A6)', async t => {
  const { dir, machine, repository } = await machineScene(t)
  await putOverlay(machine, join(dir, 'overlay.qcow2'))
  await t.rejects(backedUpDisk(machine, { repository }), {
    code: 'HYPERVISOR_REFUSED',
    message: /'disk0' is the backing of 'over'/,
  })
  t.strictSame(await leftoversOf(machine.qmp), [])
})

t.test('the file below an image is not the disk in it', async t => {
  // It was backed up in its place: a whole qcow2 container that the guest was writing to.
  const { dir, machine, repository, raw } = await machineScene(t)
  const refused = { code: 'HYPERVISOR_REFUSED', remedy: /name 'disk0'/ }
  await t.rejects(backedUpDisk(machine, { repository, disks: 'disk0-file' }), {
    ...refused,
    message: /^'disk0-file' is the file in which 'disk0' keeps its disk/,
  })
  const disk = join(dir, 'below-filters')
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, disk])
  for (const node of [
    { driver: 'file', 'node-name': 'lowest', filename: disk },
    { driver: 'preallocate', 'node-name': 'between', file: 'lowest' },
    { driver: 'qcow2', 'node-name': 'image', file: 'between' },
    { driver: 'copy-on-read', 'node-name': 'over', file: 'image' },
  ]) {
    await machine.qmp.execute('blockdev-add', node)
  }
  for (const disks of ['lowest', 'between']) {
    await t.rejects(backedUpDisk(machine, { repository, disks }), {
      code: 'HYPERVISOR_REFUSED',
      message: new RegExp(`'${disks}' is the file in which 'image' keeps`),
    })
  }
  const result = await backedUpDisk(machine, { repository, disks: 'image' })
  t.equal(await differenceFrom(disk, { repository, result }), '', 'a filter keeps nothing')
  t.strictSame(await leftoversOf(machine.qmp), [])
})

t.test('a bitmap that was disabled and enabled again is caught by the audit (A7)', async t => {
  const { machine, repository, image } = await machineScene(t)
  const full = await backedUpDisk(machine, { repository })
  const bitmap = { node: 'disk0', name: full.checkpoint }
  await machine.qmp.execute('block-dirty-bitmap-disable', bitmap)
  await machine.guest('disk0', 'write -P 0x11 4M 64k', 'flush')
  await machine.qmp.execute('block-dirty-bitmap-enable', bitmap)
  await t.rejects(backedUpDisk(machine, { repository }), {
    code: 'AUDIT_MISMATCH',
    details: { slots: [64] },
    remedy: /^back up again: .* all of the volume is read/,
  })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${full.checkpoint}+`], 'nothing moved on')
  const rescan = await backedUpDisk(machine, { repository })
  t.match(rescan, { mode: 'rescan', reason: 'tracker-lied' })
  t.equal(await differenceFrom(image, { repository, result: rescan }), '')
  await machine.guest('disk0', 'write -P 0x12 5M 64k', 'flush')
  const next = await backedUpDisk(machine, { repository })
  t.match(next, { mode: 'incremental', reason: null, bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result: next }), '')
})

t.test('a disk that shrank and grew again is caught by the audit (A4)', async t => {
  const { machine, repository, image } = await machineScene(t)
  await backedUpDisk(machine, { repository })
  for (const size of [8 * MiB, 16 * MiB]) {
    await machine.qmp.execute('block_resize', { 'node-name': 'disk0', size })
  }
  await machine.guest('disk0', 'flush')
  await t.rejects(backedUpDisk(machine, { repository }), { code: 'AUDIT_MISMATCH' })
  const result = await backedUpDisk(machine, { repository })
  t.match(result, { mode: 'rescan', reason: 'tracker-lied' })
  t.equal(await differenceFrom(image, { repository, result }), '')
})

t.test('a raw disk is tracked until QEMU ends', async t => {
  const dir = t.testdir({})
  const file = join(dir, 'disk')
  await makeVolume(file, { bytes: 8 * MiB, seed: 8 })
  const repository = await makeRepository(t, join(dir, 'repo'))
  const start = () => startMachine(t, [{ node: 'disk0', file, format: 'raw' }])
  let machine = await start()
  await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const next = await backedUpDisk(machine, { repository })
  t.match(next, { mode: 'incremental', bytes: { read: 65_536 } })
  await machine.guest('disk0', 'write -P 0x12 2M 64k', 'flush')
  await machine.quit()
  machine = await start()
  const result = await backedUpDisk(machine, { repository })
  t.match(result, { mode: 'rescan', reason: 'no-bitmap' })
  t.equal(await differenceFrom(file, { repository, result, format: 'raw' }), '')
})

t.test('a file of an odd size is a disk of whole sectors (A11)', async t => {
  const dir = t.testdir({})
  const file = join(dir, 'disk')
  await makeVolume(file, { bytes: 1_000_100, seed: 8 })
  const repository = await makeRepository(t, join(dir, 'repo'))
  const machine = await startMachine(t, [{ node: 'disk0', file, format: 'raw' }])
  await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 999936 512', 'flush')
  const result = await backedUpDisk(machine, { repository })
  t.match(result, { mode: 'incremental', bytes: { volume: 1_000_448 } })
  truncateSync(file, 1_000_448)
  t.equal(await differenceFrom(file, { repository, result, format: 'raw' }), '')
})

t.test('two repositories keep one machine, and neither knows of the other', async t => {
  const { dir, machine, repository, image } = await machineScene(t)
  const other = await makeRepository(t, join(dir, 'other'))
  await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  await backedUpDisk(machine, { repository: other })
  await machine.guest('disk0', 'write -P 0x12 2M 64k', 'flush')
  const one = await backedUpDisk(machine, { repository })
  t.match(one, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  const two = await backedUpDisk(machine, { repository: other })
  t.match(two, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result: one }), '')
  t.equal(await differenceFrom(image, { repository: other, result: two }), '')
  t.equal((await bitmapsOf(machine.qmp, 'disk0')).length, 2)
})

/** Clears the autoclear bit of bitmaps, as a writer does that does not know it. */
function forgetBitmaps(image: string): void {
  const file = openSync(image, 'r+')
  const features = Buffer.alloc(8)
  readSync(file, features, 0, 8, 88)
  features.writeUInt8(features.readUInt8(7) & ~1, 7)
  writeSync(file, features, 0, 8, 88)
  closeSync(file)
}

/** An external snapshot, as by another tool: the guest writes to `over` from then on. */
async function putOverlay({ qmp }: TestMachine, file: string): Promise<void> {
  const backing = join(dirname(file), 'disk.qcow2')
  const args = ['create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', backing, file, '16M']
  execFileSync('qemu-img', args)
  await qmp.execute('blockdev-add', {
    driver: 'qcow2',
    'node-name': 'over',
    file: { driver: 'file', filename: file },
    backing: null,
  })
  await qmp.execute('blockdev-snapshot', { node: 'disk0', overlay: 'over' })
}
