/** What is said of the tracking of a domain, and that its next backup does just that. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { backupMachine } from '../../../src/backup-machine.js'
import { cbtStatus, type CbtMachineStatus } from '../../../src/cbt-status.js'
import { openMachine } from '../../../src/open-machine.js'
import {
  defineDomain,
  domainXml,
  guestIo,
  makeImage,
  qemuPid,
  startLibvirtd,
} from '../../support/libvirtd.js'
import { makeRepository } from '../../support/repository.js'
import { runMoverJson } from '../../support/run-mover.js'

t.setTimeout(600_000)

/** A domain that runs, with a disk that can be tracked and one that cannot. */
async function scene(t: Test) {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const virsh = (...words: string[]) => libvirtd.virsh(...words)
  const scratch = join(folder, 's')
  mkdirSync(scratch)
  const disks = [
    { target: 'vda', path: join(folder, 'vda.qcow2'), format: 'qcow2' },
    { target: 'vdb', path: join(folder, 'vdb.raw'), format: 'raw' },
  ] as const
  for (const { path, format } of disks) await makeImage(path, '16M', format)
  await defineDomain(libvirtd, domainXml('vm', disks))
  const repository = await makeRepository(t, join(folder, 'repository'))
  const name = `libvirt:vm?socket=${socket}`
  const nodes = async () =>
    (await virsh('domstate', 'vm')) === 'running'
      ? await virsh('qemu-monitor-command', 'vm', '{"execute":"query-named-block-nodes"}')
      : ''
  return {
    ...{ libvirtd, folder, name, repository, image: disks[0].path },
    /** The result of the first disk. */
    backedUp: async () => {
      await using machine = await openMachine(name, { scratch })
      await using job = backupMachine({ machine, repository, volume: 'vm' })
      return (await job.result).disks[0]
    },
    /** Asks, and sees that nothing is another after it. */
    status: async () => {
      const bitmaps = async () => (await nodes()).match(/"dirty-bitmaps":\[[^\]]*\]/g)
      const look = async () => [await bitmaps(), await virsh('checkpoint-list', 'vm')]
      const before = await look()
      const { disks } = (await cbtStatus({ source: name })) as CbtMachineStatus
      t.strictSame(await look(), before, 'nothing is changed')
      return disks
    },
  }
}

const UNTRACKED = {
  name: 'vdb',
  trackers: [],
  reason: 'an image of format raw keeps no bitmaps',
  remedy: /qcow2 version 3/,
}

t.test('of a domain that runs', async t => {
  const { libvirtd, folder, name, status, backedUp } = await scene(t)
  t.match(await status(), [{ name: 'vda', trackers: [], reason: 'no-bitmap' }, UNTRACKED])

  const full = await backedUp()
  await guestIo(libvirtd, 'vm', 'write -P 0x11 5M 64k')
  const onlyFirst = ['--diskspec', 'vda', '--diskspec', 'vdb,checkpoint=no']
  await libvirtd.virsh('checkpoint-create-as', 'vm', 'theirs', ...onlyFirst)
  await guestIo(libvirtd, 'vm', 'write -P 0x12 9M 64k')
  const own = { kind: 'libvirt-checkpoint', isOwn: true, changes: null }
  const whole = { ...own, name: full?.checkpoint, health: 'superset', dirtyBytes: 2 * 65_536 }
  const theirs = { name: 'theirs', isOwn: false, dirtyBytes: 65_536, remedy: /others made it/ }
  t.match(await status(), [{ trackers: [whole, theirs], reason: null, remedy: null }, UNTRACKED])

  const xml = join(folder, 'job.xml')
  const disk = `<disk name='vda' type='file'><scratch file='${folder}/x'/></disk>`
  const server = `<server transport='unix' socket='${folder}/b'/>`
  const job = `<domainbackup mode='pull'>${server}<disks>${disk}</disks></domainbackup>`
  writeFileSync(xml, job)
  await libvirtd.virsh('backup-begin', 'vm', xml)
  t.match(await status(), [{ trackers: [whole, theirs] }, UNTRACKED], 'a backup is no hindrance')
  await libvirtd.virsh('domjobabort', 'vm')
  t.match(await backedUp(), { mode: 'incremental', bytes: { read: 2 * 65_536 } })

  // From here on libvirt lists checkpoints whose bitmaps are void.
  process.kill(qemuPid(libvirtd, 'vm'), 'SIGKILL')
  while ((await libvirtd.virsh('domstate', 'vm')) !== 'shut off') await sleep(20)
  await libvirtd.virsh('start', 'vm')
  const words = ['cbt', 'status', name.replace('vm?', 'vm/vda?')]
  const { code, result } = await runMoverJson(words)
  t.equal(code, 0)
  t.match(result, {
    operation: 'cbt-status-machine',
    disks: [
      {
        trackers: [
          { isOwn: false, health: 'lost' },
          { ...own, health: 'lost', reason: /missing or broken/, remedy: /reads the disk whole/ },
        ],
      },
    ],
  })
  t.match(await backedUp(), { mode: 'rescan', reason: /missing or broken/ })
})

t.test('of a domain that is off: what its images have', async t => {
  const { libvirtd, image, status, backedUp } = await scene(t)
  const full = await backedUp()
  await guestIo(libvirtd, 'vm', 'write -P 0x11 5M 64k')
  await libvirtd.virsh('destroy', 'vm', '--graceful')
  execFileSync('qemu-img', ['bitmap', '--add', image, 'theirs'])
  const own = { kind: 'libvirt-checkpoint', name: full?.checkpoint, isOwn: true, changes: null }
  const whole = { ...own, health: 'superset', dirtyBytes: 65_536, flags: ['recording'] }
  const theirs = { kind: 'qcow2-bitmap', name: 'theirs', isOwn: false, health: 'superset' }
  t.match(await status(), [{ name: 'vda', trackers: [whole, theirs], remedy: null }, UNTRACKED])

  const forgotten = 'mover-0123456789abcdef'
  execFileSync('qemu-img', ['bitmap', '--add', image, forgotten])
  const remedy = `nothing uses it any more: qemu-img bitmap --remove ${image} ${forgotten}`
  const lostOne = { name: forgotten, isOwn: true, health: 'lost', remedy }
  const gone = { ...lostOne, reason: /checkpoint .* is gone/ }
  t.match(await status(), [{ trackers: [whole, theirs, gone] }, UNTRACKED])

  execFileSync('qemu-img', ['bitmap', '--remove', image, full?.checkpoint ?? ''])
  const lost = { ...own, health: 'lost', reason: 'bitmap-absent', remedy: /reads the disk whole/ }
  t.match(await status(), [{ trackers: [lost, theirs, gone] }, UNTRACKED])
})

t.test('of a bitmap that somebody disabled', async t => {
  const { libvirtd, status, backedUp } = await scene(t)
  const full = await backedUp()
  const query = '{"execute":"query-named-block-nodes"}'
  const said = await libvirtd.virsh('qemu-monitor-command', 'vm', query)
  const { return: nodes } = JSON.parse(said) as { return: Record<string, unknown>[] }
  const node = nodes.find(found => 'dirty-bitmaps' in found)?.['node-name']
  const disable = {
    execute: 'block-dirty-bitmap-disable',
    arguments: { node, name: full?.checkpoint },
  }
  await libvirtd.virsh('qemu-monitor-command', 'vm', JSON.stringify(disable))
  t.match(await status(), [
    {
      trackers: [
        {
          name: full?.checkpoint,
          health: 'lost',
          reason: /or disabled \(not recording\)$/,
          remedy: /reads the disk whole.*who disables bitmaps/,
        },
      ],
    },
    UNTRACKED,
  ])
  t.match(await backedUp(), { mode: 'rescan', reason: /or disabled \(not recording\)$/ })
  t.match(await backedUp(), { mode: 'incremental' })
})
