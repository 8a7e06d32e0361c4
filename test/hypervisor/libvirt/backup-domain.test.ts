import { mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { MoverEvent } from '../../../src/core/progress.js'
import type { Repository } from '../../../src/repository.js'
import {
  backupMachine,
  type BackupMachineOptions,
  type BackupMachineResult,
} from '../../../src/backup-machine.js'
import { openMachine } from '../../../src/open-machine.js'
import {
  defineDomain,
  domainXml,
  guestIo,
  makeImage,
  qemuPid,
  startLibvirtd,
  type DiskSpec,
  type Libvirtd,
} from '../../support/libvirtd.js'
import { makeRepository, restored } from '../../support/repository.js'
import { runMoverJson } from '../../support/run-mover.js'

// Many domains are started one after the other, on a machine that may be busy.
t.setTimeout(900_000)

const VM = 'vm'

/** A running domain with two disks and a repository beside it. */
interface Scene {
  readonly libvirtd: Libvirtd
  readonly repository: Repository
  readonly folder: string
  readonly scratch: string
  readonly options: RunOptions
}

interface SceneOptions {
  readonly disks?: (folder: string) => readonly DiskSpec[]
  readonly prepare?: (folder: string) => () => void
}

async function scene(t: Test, { disks, prepare }: SceneOptions = {}): Promise<Scene> {
  const libvirtd = await startLibvirtd(t, prepare === undefined ? {} : { prepare })
  const { folder, socket } = libvirtd
  const scratch = join(folder, 's')
  mkdirSync(scratch)
  const specs = disks?.(folder) ?? ['vda', 'vdb'].map(target => qcow2(folder, target))
  for (const { path, format = 'qcow2' } of specs) await makeImage(path, '64M', format)
  await defineDomain(libvirtd, domainXml(VM, specs))
  const repository = await makeRepository(t, join(folder, 'repository'))
  const machine = `libvirt:${VM}?socket=${socket}`
  return {
    libvirtd,
    repository,
    folder,
    scratch,
    options: { machine, repository, scratch, volume: VM },
  }
}

function qcow2(folder: string, target: string): DiskSpec {
  return { target, path: join(folder, `${target}.qcow2`) }
}

interface RunOptions extends Omit<BackupMachineOptions, 'machine'> {
  readonly machine: string
  readonly scratch: string | null
}

interface Ran extends BackupMachineResult {
  readonly events: readonly MoverEvent[]
}

/** Backs up to the end; `events` are there as they come. */
async function ran(
  { machine: name, scratch, ...options }: RunOptions,
  events: MoverEvent[] = [],
): Promise<Ran> {
  await using machine = await openMachine(name, { scratch })
  await using job = backupMachine({ machine, ...options })
  for await (const event of job.events) events.push(event)
  return { ...(await job.result), events }
}

/** Holds each backed-up disk against the image as it is now: nothing may have been written since. */
async function matchesImages(t: Test, here: Scene, { disks }: Pick<Ran, 'disks'>) {
  for (const disk of disks) {
    const target = await restoredDisk(here, { disks: [disk] })
    const { path, format } = await imageOf(
      here.libvirtd,
      disk.volume.slice(disk.volume.indexOf('/') + 1),
    )
    const formats = ['-f', 'raw', '-F', format]
    execFileSync('qemu-img', ['compare', '-q', '-U', ...formats, target, path])
    t.pass(`${disk.volume} is what the guest has`)
  }
}

/** The first disk of a run, restored to a file. */
async function restoredDisk({ folder, repository }: Scene, { disks }: Pick<Ran, 'disks'>) {
  const target = join(folder, 'restored')
  const manifest = disks[0]?.manifest ?? ''
  await restored({ repository, manifest, target, force: ['exists'] })
  return target
}

async function imageOf(libvirtd: Libvirtd, target: string) {
  const lines = (await libvirtd.virsh('domblklist', VM)).split('\n')
  const path =
    lines.map(line => line.trim().split(/\s+/)).find(([name]) => name === target)?.[1] ?? ''
  return { path, format: path.endsWith('.raw') ? 'raw' : 'qcow2' }
}

async function checkpoints({ libvirtd }: Scene): Promise<string[]> {
  const names = await libvirtd.virsh('checkpoint-list', VM, '--name')
  return names === '' ? [] : names.split('\n')
}

/** All disks of a run share one. */
const checkpointOf = ({ disks }: Ran) => disks[0]?.checkpoint ?? ''
const modes = ({ disks }: Ran) => disks.map(({ mode }) => mode)
const reasons = ({ disks }: Ran) => disks.map(({ reason }) => reason)
const warnings = ({ events }: Ran) => warningsIn(events)
const warningsIn = (events: readonly MoverEvent[]) =>
  events.flatMap(event => (event.type === 'warning' ? [event.code] : []))

t.test(
  'the disks of a running domain are backed up at one moment, then by what changed',
  async t => {
    const here = await scene(t)
    const { libvirtd, scratch, options } = here
    await guestIo(libvirtd, VM, 'write -P 0x11 5M 64k')
    await guestIo(libvirtd, VM, 'write -P 0x22 1M 1M', 1)
    const full = await ran(options)
    t.strictSame(modes(full), ['full', 'full'])
    t.strictSame(warnings(full), [])
    await matchesImages(t, here, full)
    t.strictSame(await checkpoints(here), [checkpointOf(full)])

    await guestIo(libvirtd, VM, 'write -P 0x33 40M 64k')
    await guestIo(libvirtd, VM, 'write -z -u 5M 64k')
    const next = await ran(options)
    t.strictSame(modes(next), ['incremental', 'incremental'])
    t.strictSame(reasons(next), [null, null])
    t.strictSame(
      next.disks.map(({ bytes }) => bytes.read),
      [65_536, 0],
    )
    await matchesImages(t, here, next)
    t.strictSame(await checkpoints(here), [checkpointOf(next)])
    t.strictSame(readdirSync(scratch), [], 'and nothing is left behind')
    t.equal(await libvirtd.virsh('domjobinfo', VM), 'Job type:         None')

    const [manifest] = await here.repository.manifests('vm/vda')
    t.match(manifest?.set, { id: full.set, members: 2 })
    t.match(manifest?.attachments, [{ name: 'domain.xml' }])
    t.match(
      manifest?.source.identity,
      /^libvirt domain [-0-9a-f]{36} disk vda file \d+ of \d+ at \//,
    )
    t.ok(qemuPid(libvirtd, VM) > 0)
  },
)

/** A scene of which a full backup is there, and in which the guest has written since. */
async function backedUpScene(t: Test, options: SceneOptions = {}) {
  const here = await scene(t, options)
  await guestIo(here.libvirtd, VM, 'write -P 0x11 5M 1M')
  await ran(here.options)
  await guestIo(here.libvirtd, VM, 'write -P 0x22 6M 64k')
  return here
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await isSo()) return
    await sleep(20)
  }
  throw new Error('it never came to pass')
}

const isOff = async ({ libvirtd }: Scene) => (await libvirtd.virsh('domstate', VM)) === 'shut off'

t.test('bitmaps survive a clean shutdown and start', async t => {
  const here = await backedUpScene(t)
  await here.libvirtd.virsh('destroy', VM, '--graceful')
  await here.libvirtd.virsh('start', VM)
  await guestIo(here.libvirtd, VM, 'write -P 0x33 30M 64k')
  const next = await ran(here.options)
  t.strictSame(
    [modes(next), reasons(next)],
    [
      ['incremental', 'incremental'],
      [null, null],
    ],
  )
  t.equal(next.disks[0]?.bytes.read, 2 * 65_536)
  await matchesImages(t, here, next)
})

t.test('a job of somebody else is told at once, and left alone', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, folder, options } = here
  const before = await checkpoints(here)
  const xml = join(folder, 'job.xml')
  writeFileSync(
    xml,
    `<domainbackup mode='pull'><server transport='unix' socket='${folder}/b'/><disks><disk name='vda' type='file'><scratch file='${folder}/x'/></disk></disks></domainbackup>`,
  )
  await libvirtd.virsh('backup-begin', VM, xml)
  const startedMs = performance.now()
  await t.rejects(ran(options), {
    code: 'HYPERVISOR_REFUSED',
    message:
      /busy with a backup that mover did not begin: pull mode, full, of vda, served at .*\/b$/,
  })
  t.ok(performance.now() - startedMs < 10_000, 'libvirt would have waited for 30 seconds')
  t.match(await libvirtd.virsh('backup-dumpxml', VM), /mode='pull'/, 'it goes on')
  t.strictSame(await checkpoints(here), before)
  await libvirtd.virsh('domjobabort', VM)
  const next = await ran(options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  await matchesImages(t, here, next)
})

t.test('a mover that lives is not disturbed by another one', async t => {
  const here = await scene(t)
  await guestIo(here.libvirtd, VM, 'write -P 0x11 0 32M')
  const controller = new AbortController()
  const slow = ran({ ...here.options, bytesPerSecond: 4 * 1024 ** 2, signal: controller.signal })
  await until(() => readdirSync(here.scratch).length > 0)
  await until(async () => (await checkpoints(here)).length > 0)
  await t.rejects(ran(here.options), {
    code: 'HYPERVISOR_REFUSED',
    message: /another mover, which lives/,
  })
  t.equal((await checkpoints(here)).length, 1, 'its checkpoint is not taken for a leftover')
  controller.abort()
  await t.rejects(slow, { code: 'CANCELLED' })
  t.strictSame(await checkpoints(here), [], 'a cancelled backup leaves none')
  t.strictSame(readdirSync(here.scratch), [])
})

t.test('checkpoints of others are neither used nor deleted', async t => {
  const here = await backedUpScene(t)
  const { libvirtd } = here
  await libvirtd.virsh('checkpoint-create-as', VM, 'theirs')
  await guestIo(libvirtd, VM, 'write -P 0x33 20M 64k')
  const next = await ran(here.options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  await matchesImages(t, here, next)
  t.strictSame((await checkpoints(here)).sort(), [checkpointOf(next), 'theirs'].sort())
})

t.test('a checkpoint that was made and never committed goes', async t => {
  const here = await backedUpScene(t)
  // As a run leaves it that was killed after its checkpoint was made, and whose job has ended.
  const [own = ''] = await checkpoints(here)
  const description = /<description>(.*)<\/description>/.exec(
    await here.libvirtd.virsh('checkpoint-dumpxml', VM, own, '--no-domain'),
  )?.[1]
  await here.libvirtd.virsh('checkpoint-create-as', VM, 'mover-0123456789abcdef', description ?? '')
  await guestIo(here.libvirtd, VM, 'write -P 0x33 20M 64k')
  const next = await ran(here.options)
  t.strictSame([modes(next), warnings(next)], [['incremental', 'incremental'], []])
  t.equal(next.disks[0]?.bytes.read, 2 * 65_536, 'what was written before it and after it')
  await matchesImages(t, here, next)
  t.strictSame(await checkpoints(here), [checkpointOf(next)])
})

t.test('QEMU is killed, and every bitmap with it: a rescan, and then tracking again', async t => {
  const here = await backedUpScene(t)
  const { libvirtd } = here
  process.kill(qemuPid(libvirtd, VM), 'SIGKILL')
  await until(() => isOff(here))
  await libvirtd.virsh('start', VM)
  await guestIo(libvirtd, VM, 'write -P 0x33 30M 64k')
  const next = await ran(here.options)
  t.strictSame(modes(next), ['rescan', 'rescan'])
  t.match(reasons(next), [/^the bitmap is missing or broken/, /^the bitmap is missing/])
  t.equal(next.events.filter(({ type }) => type === 'fallback').length, 2)
  await matchesImages(t, here, next)
  t.strictSame(await checkpoints(here), [checkpointOf(next)], 'the broken ones are gone')
  await guestIo(libvirtd, VM, 'write -P 0x44 31M 64k')
  const later = await ran(here.options)
  t.strictSame(modes(later), ['incremental', 'incremental'])
  await matchesImages(t, here, later)
})

t.test('one disk has lost its bitmap, the other has not', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, folder } = here
  const [own = ''] = await checkpoints(here)
  await libvirtd.virsh('destroy', VM, '--graceful')
  execFileSync('qemu-img', ['bitmap', '--remove', join(folder, 'vda.qcow2'), own])
  await libvirtd.virsh('start', VM)
  await guestIo(libvirtd, VM, 'write -P 0x55 9M 64k', 1)
  const next = await ran(here.options)
  t.strictSame(modes(next), ['rescan', 'incremental'])
  t.equal(next.disks[1]?.bytes.read, 65_536)
  await matchesImages(t, here, next)
  t.strictSame(await checkpoints(here), [checkpointOf(next)])
})

t.test('a disk that has grown is read whole, its new tail with it', async t => {
  const here = await backedUpScene(t)
  await here.libvirtd.virsh('blockresize', VM, 'vda', '80M')
  await guestIo(here.libvirtd, VM, 'write -P 0x66 72M 64k')
  const next = await ran(here.options)
  t.strictSame(modes(next), ['rescan', 'incremental'])
  t.strictSame(reasons(next), ['resized', null])
  await matchesImages(t, here, next)
})

t.test('an external snapshot of libvirt carries the bitmap on', async t => {
  const here = await backedUpScene(t)
  await here.libvirtd.virsh('snapshot-create-as', VM, 's1', '--disk-only', '--no-metadata')
  await guestIo(here.libvirtd, VM, 'write -P 0x77 40M 64k')
  const next = await ran(here.options)
  t.strictSame(
    [modes(next), reasons(next)],
    [
      ['incremental', 'incremental'],
      [null, null],
    ],
  )
  t.equal(
    next.disks[0]?.bytes.read,
    2 * 65_536,
    'what was written before the snapshot and after it',
  )
  await matchesImages(t, here, next)
})

t.test('an external snapshot, and a restart: the chain of images still counts', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  await libvirtd.virsh('snapshot-create-as', VM, 's1', '--disk-only', '--no-metadata')
  await guestIo(libvirtd, VM, 'write -P 0x77 40M 64k')
  await libvirtd.virsh('destroy', VM, '--graceful')
  const off = await ran({ ...options, scratch: null })
  t.strictSame(modes(off), ['incremental', 'incremental'])
  t.equal(off.disks[0]?.bytes.read, 2 * 65_536, 'by the bitmaps of both images')
  await matchesImages(t, here, off)
  await libvirtd.virsh('start', VM)
  await guestIo(libvirtd, VM, 'write -P 0x78 41M 64k')
  const next = await ran(options)
  t.strictSame(reasons(next), [null, null])
  t.equal(
    next.disks[0]?.bytes.read,
    3 * 65_536,
    'before the snapshot, on it, and after the restart',
  )
  await matchesImages(t, here, next)
})

t.test('an external snapshot that is committed back into its base', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  await libvirtd.virsh('snapshot-create-as', VM, 's1', '--disk-only', '--no-metadata')
  await guestIo(libvirtd, VM, 'write -P 0x77 40M 64k')
  await libvirtd.virsh('blockcommit', VM, 'vda', '--active', '--wait', '--pivot')
  await guestIo(libvirtd, VM, 'write -P 0x78 41M 64k')
  const next = await ran(options)
  t.strictSame([modes(next)[0], reasons(next)[0]], ['incremental', null])
  t.equal(next.disks[0]?.bytes.read, 3 * 65_536, 'before, on and after it')
  await matchesImages(t, here, next)
})

t.test('storage that is moved while the domain runs: one rescan', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, folder, options } = here
  const to = ['--dest', join(folder, 'moved.qcow2'), '--format', 'qcow2']
  await libvirtd.virsh('blockcopy', VM, 'vda', ...to, '--transient-job', '--wait', '--pivot')
  await guestIo(libvirtd, VM, 'write -P 0x78 41M 64k')
  const next = await ran(options)
  t.strictSame(modes(next), ['rescan', 'incremental'])
  t.match(reasons(next), [/lies elsewhere/, null])
  await matchesImages(t, here, next)
  await guestIo(libvirtd, VM, 'write -P 0x79 42M 64k')
  const later = await ran(options)
  t.strictSame(modes(later), ['incremental', 'incremental'])
  await matchesImages(t, here, later)
})

/** libvirt ends the domain for it. */
t.test('a revert to an internal snapshot is refused while there are checkpoints', async t => {
  const here = await scene(t)
  const { libvirtd, options } = here
  await guestIo(libvirtd, VM, 'write -P 0x11 5M 1M')
  await libvirtd.virsh('snapshot-create-as', VM, 's1')
  await ran(options)
  await guestIo(libvirtd, VM, 'write -P 0x22 6M 64k')
  await t.rejects(libvirtd.virsh('snapshot-revert', VM, 's1'), /active dirty bitmaps/)
  await until(() => isOff(here))
  await libvirtd.virsh('start', VM)
  await guestIo(libvirtd, VM, 'write -P 0x33 30M 64k')
  const refused = await ran(options)
  await matchesImages(t, here, refused)

  for (const name of await checkpoints(here)) await libvirtd.virsh('checkpoint-delete', VM, name)
  await libvirtd.virsh('snapshot-revert', VM, 's1')
  const reverted = await ran(options)
  t.strictSame(modes(reverted), ['rescan', 'rescan'])
  t.match(reasons(reverted), [/^the checkpoint of the newest backup is gone/, /is gone/])
  await matchesImages(t, here, reverted)
})

t.test('a backup is given up before its scratch folder is full, and the guest goes on', async t => {
  let small = ''
  const here = await backedUpScene(t, {
    prepare: folder => {
      small = join(folder, 'small')
      mkdirSync(small)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16M', 'tmpfs', small])
      return () => execFileSync('umount', ['-l', small])
    },
  })
  const { libvirtd, options } = here
  await guestIo(libvirtd, VM, 'write -P 0x33 0 48M')
  const before = await checkpoints(here)
  const events: MoverEvent[] = []
  const slow = ran({ ...options, scratch: small, bytesPerSecond: 4 * 1024 ** 2 }, events)
  const given = t.rejects(slow, {
    code: 'SOURCE_FAILED',
    retryable: true,
    message: /for the guest's sake: the scratch folder .*left/,
    remedy: /--scratch/,
  })
  await until(() => events.some(event => event.type === 'progress'))
  // From the end, which is read last: all that is overwritten has to be put aside.
  for (let megabyte = 47; megabyte > 20; megabyte -= 1) {
    await guestIo(libvirtd, VM, `write -P 0x44 ${megabyte}M 1M`)
    await sleep(50)
  }
  await given
  t.match(warningsIn(events), ['SCRATCH_SMALL', 'SCRATCH_FULL'])
  t.strictSame(readdirSync(small), [])
  t.strictSame(await checkpoints(here), before, 'tracking goes on from the last backup')
  const next = await ran(options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  await matchesImages(t, here, next)
})

t.test('a backup that fails gives its changes back to the old checkpoint', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  const before = await checkpoints(here)
  const controller = new AbortController()
  await guestIo(libvirtd, VM, 'write -P 0x33 0 32M')
  const slow = ran({ ...options, bytesPerSecond: 4 * 1024 ** 2, signal: controller.signal })
  await until(async () => (await checkpoints(here)).length > before.length)
  await guestIo(libvirtd, VM, 'write -P 0x44 50M 64k')
  controller.abort()
  await t.rejects(slow, { code: 'CANCELLED' })
  t.strictSame(await checkpoints(here), before)
  await guestIo(libvirtd, VM, 'write -P 0x55 60M 64k')
  const next = await ran(options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  t.equal(next.disks[0]?.bytes.read, 32 * 1024 ** 2 + 2 * 65_536, 'before, during and after it')
  await matchesImages(t, here, next)
})

t.test(
  'disks that cannot be backed up are named, and one without bitmaps is read whole',
  async t => {
    const here = await scene(t, {
      disks: folder => [
        qcow2(folder, 'vda'),
        { target: 'vdb', path: join(folder, 'vdb.raw'), format: 'raw' },
        { target: 'hdc', path: join(folder, 'cd.raw'), format: 'raw', device: 'cdrom' },
      ],
    })
    const { libvirtd, options } = here
    await guestIo(libvirtd, VM, 'write -P 0x11 5M 64k', 1)
    const full = await ran(options)
    t.strictSame(
      [modes(full), reasons(full), warnings(full)],
      [['full', 'full'], [null, null], ['DISK_LEFT_OUT']],
    )
    await matchesImages(t, here, full)
    await guestIo(libvirtd, VM, 'write -P 0x22 6M 64k', 1)
    const next = await ran(options)
    t.strictSame(modes(next), ['incremental', 'rescan'])
    t.strictSame(reasons(next), [null, 'an image of format raw keeps no bitmaps'])
    await matchesImages(t, here, next)

    const one = await ran({
      ...options,
      machine: options.machine.replace(VM, `${VM}/vdb`),
      volume: 'b',
    })
    t.match(one.disks, [{ volume: 'b', mode: 'full' }])
    t.strictSame(warnings(one), [])
    t.strictSame(await checkpoints(here), [checkpointOf(next)], 'the chain of both is left alone')
    const named = (disk: string) => ({
      ...options,
      machine: options.machine.replace(VM, `${VM}/${disk}`),
    })
    await t.rejects(ran(named('vdx')), { code: 'ARGUMENT_INVALID', remedy: /vda, vdb, hdc/ })
    await t.rejects(ran(named('hdc')), { code: 'HYPERVISOR_REFUSED', message: /it is a cdrom/ })
    await t.rejects(ran({ ...options, scratch: null }), {
      code: 'ARGUMENT_INVALID',
      remedy: /--scratch/,
    })
  },
)

t.test('two repositories track one domain beside each other', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, folder, options } = here
  const other = { ...here, repository: await makeRepository(t, join(folder, 'other')) }
  await ran({ ...options, repository: other.repository })
  t.equal((await checkpoints(here)).length, 2)
  await guestIo(libvirtd, VM, 'write -P 0x33 30M 64k')
  const first = await ran(options)
  t.equal(first.disks[0]?.bytes.read, 2 * 65_536)
  await matchesImages(t, here, first)
  const second = await ran({ ...options, repository: other.repository })
  t.equal(second.disks[0]?.bytes.read, 65_536)
  await matchesImages(t, other, second)
  t.equal((await checkpoints(here)).length, 2)
})

t.test(
  'a domain that is off is read where its disks lie, by the bitmaps in its images',
  async t => {
    const here = await backedUpScene(t, {
      disks: folder => [
        qcow2(folder, 'vda'),
        { target: 'vdb', path: join(folder, 'vdb.raw'), format: 'raw' },
      ],
    })
    const { libvirtd, folder, options } = here
    const before = await checkpoints(here)
    await libvirtd.virsh('destroy', VM, '--graceful')
    for (const [round, mode] of ['incremental', 'differential'].entries()) {
      const off = await ran({ ...options, scratch: null })
      t.strictSame(modes(off), [mode, 'rescan'])
      t.strictSame(reasons(off), [null, 'an image of format raw keeps no bitmaps'])
      t.equal(
        off.disks[0]?.bytes.read,
        65_536 * (round + 1),
        'since the running domain was backed up',
      )
      await matchesImages(t, here, off)
      execFileSync('qemu-io', ['-c', 'write -P 0x44 20M 64k', join(folder, 'vda.qcow2')])
    }
    await libvirtd.virsh('start', VM)
    t.strictSame(await checkpoints(here), before)
    await guestIo(libvirtd, VM, 'write -P 0x33 30M 64k')
    const next = await ran(options)
    t.strictSame(
      modes(next),
      ['differential', 'rescan'],
      'on a full one that is not the newest any more',
    )
    t.equal(next.disks[0]?.bytes.read, 3 * 65_536, 'since the last backup of the running domain')
    await matchesImages(t, here, next)
  },
)

t.test('a domain that is off, and whose QEMU was killed, is read whole', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  const killed = async () => {
    process.kill(qemuPid(libvirtd, VM), 'SIGKILL')
    await until(() => isOff(here))
    return ran({ ...options, scratch: null })
  }
  const unsaved = await killed()
  t.strictSame(reasons(unsaved), ['bitmap-absent', 'bitmap-absent'], 'they were never saved')
  await matchesImages(t, here, unsaved)
  await libvirtd.virsh('start', VM)
  await ran(options)
  await libvirtd.virsh('destroy', VM, '--graceful')
  await libvirtd.virsh('start', VM)
  await guestIo(libvirtd, VM, 'write -P 0x33 30M 64k')
  const inUse = await killed()
  t.strictSame(modes(inUse), ['rescan', 'rescan'])
  t.strictSame(reasons(inUse), ['bitmap-in-use', 'bitmap-in-use'])
  await matchesImages(t, here, inUse)
})

/** The bitmaps of one checkpoint have one name in all images: each would pass for the other's. */
t.test('disks that were exchanged are read whole', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  await guestIo(libvirtd, VM, 'write -P 0x66 9M 64k', 1)
  await libvirtd.virsh('destroy', VM, '--graceful')
  const xml = await libvirtd.virsh('dumpxml', VM, '--inactive')
  const exchanged = xml.replace(/vd([ab])[.]qcow2/g, (_, letter) =>
    letter === 'a' ? 'vdb.qcow2' : 'vda.qcow2',
  )
  await defineDomain(libvirtd, exchanged, { isStarted: false })
  const elsewhere = 'the disk lies elsewhere than at its checkpoint'
  const exchange = async (run: Ran) => {
    t.strictSame(modes(run), ['rescan', 'rescan'])
    t.strictSame(reasons(run), [elsewhere, elsewhere])
    await matchesImages(t, here, run)
  }
  // Of 1,024 chunks three differ: the audit may well miss them.
  await exchange(await ran({ ...options, scratch: null, audit: 'off' }))
  await libvirtd.virsh('start', VM)
  await exchange(await ran({ ...options, audit: 'off' }))
  await guestIo(libvirtd, VM, 'write -P 0x77 12M 64k')
  const next = await ran(options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  await matchesImages(t, here, next)
})

/** The files change places, and the domain's description stays as it is. */
t.test('disks whose files were exchanged are read whole', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, folder, options } = here
  await guestIo(libvirtd, VM, 'write -P 0x66 9M 64k', 1)
  await libvirtd.virsh('destroy', VM, '--graceful')
  const fileOf = (name: string) => join(folder, `${name}.qcow2`)
  renameSync(fileOf('vda'), fileOf('between'))
  renameSync(fileOf('vdb'), fileOf('vda'))
  renameSync(fileOf('between'), fileOf('vdb'))
  const exchange = async (run: Ran) => {
    t.strictSame(modes(run), ['rescan', 'rescan'])
    await matchesImages(t, here, run)
  }
  await exchange(await ran({ ...options, scratch: null, audit: 'off' }))
  await libvirtd.virsh('start', VM)
  await exchange(await ran({ ...options, audit: 'off' }))
  await guestIo(libvirtd, VM, 'write -P 0x77 12M 64k')
  const next = await ran(options)
  t.strictSame(modes(next), ['incremental', 'incremental'])
  await matchesImages(t, here, next)
})

/** The copy has the bitmap of the overlay, and the base's is gone, with what was written before there was one. */
t.test(
  'a copy of an overlay, with its bitmaps, in the place of its base is read whole',
  async t => {
    const here = await backedUpScene(t)
    const { libvirtd, folder, options } = here
    const base = join(folder, 'vda.qcow2')
    const xml = await libvirtd.virsh('dumpxml', VM, '--inactive')
    await libvirtd.virsh('snapshot-create-as', VM, 's1', '--disk-only', '--no-metadata')
    const { path: overlay } = await imageOf(libvirtd, 'vda')
    await guestIo(libvirtd, VM, 'write -P 0x77 40M 64k')
    await libvirtd.virsh('destroy', VM, '--graceful')
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', '--bitmaps', overlay, join(folder, 'copy')])
    renameSync(join(folder, 'copy'), base)
    await defineDomain(libvirtd, xml, { isStarted: false })
    const off = await ran({ ...options, scratch: null, audit: 'off' })
    await matchesImages(t, here, { disks: off.disks.slice(0, 1) })
    t.equal(modes(off)[0], 'rescan')
  },
)

t.test('a domain that is started while it is read makes the backup fail', async t => {
  const here = await scene(t, {
    disks: folder => [{ target: 'vda', path: join(folder, 'vda.raw'), format: 'raw' }],
  })
  await guestIo(here.libvirtd, VM, 'write -P 0x11 0 16M')
  await here.libvirtd.virsh('destroy', VM, '--graceful')
  const events: MoverEvent[] = []
  const slow = ran({ ...here.options, scratch: null, bytesPerSecond: 8 * 1024 ** 2 }, events)
  const failed = t.rejects(slow, { code: 'SOURCE_CHANGED' })
  await until(() => events.some(({ type }) => type === 'progress'))
  await here.libvirtd.virsh('start', VM)
  await failed
  t.strictSame(await here.repository.manifests(), [])
})

t.test('a domain that comes and goes while its devices are read makes the backup fail', async t => {
  const devices: string[] = []
  const here = await scene(t, {
    prepare: folder => {
      for (const target of ['vda', 'vdb']) {
        const file = join(folder, target)
        execFileSync('truncate', ['-s', '64M', file])
        const device = execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' })
        devices.push(device.trim())
      }
      return () => devices.forEach(device => execFileSync('losetup', ['-d', device]))
    },
    disks: () =>
      ['vda', 'vdb'].map((target, nth) => ({
        target,
        path: devices[nth] ?? '',
        format: 'raw',
        type: 'block',
      })),
  })
  const { libvirtd, repository } = here
  const options = { ...here.options, scratch: null, bytesPerSecond: 8 * 1024 ** 2 }
  await guestIo(libvirtd, VM, 'write -P 0x11 0 16M')
  await libvirtd.virsh('destroy', VM, '--graceful')
  for (const disk of [0, 1]) {
    const events: MoverEvent[] = []
    const failed = t.rejects(ran(options, events), {
      code: 'SOURCE_CHANGED',
      message: /^'\/dev\/loop\d+' of domain 'vm' was written to/,
    })
    await until(() => events.some(({ type }) => type === 'progress'))
    await libvirtd.virsh('start', VM)
    await guestIo(libvirtd, VM, 'write -P 0x22 63M 64k', disk)
    await libvirtd.virsh('destroy', VM, '--graceful')
    await failed
  }
  t.strictSame(await repository.manifests(), [], 'also where the disk is written that comes next')
  const quiet = await ran({ ...here.options, scratch: null })
  t.strictSame(modes(quiet), ['full', 'full'])
})

t.test('mover is killed in the middle: the next run ends its job and goes on', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, scratch, repository, options } = here
  const before = await checkpoints(here)
  await guestIo(libvirtd, VM, 'write -P 0x33 0 32M')
  const words = ['backup', options.machine, '--volume', VM, '--scratch', scratch, '--rate', '4MiB']
  const killed = await runMoverJson(words, {
    repository: repository.path,
    killFrom: /"type":"progress"/,
    killAfterMs: 300,
  })
  t.equal(killed.signal, 'SIGKILL')
  t.match(await libvirtd.virsh('backup-dumpxml', VM), /mode='pull'/, 'its job lives on')
  t.equal((await checkpoints(here)).length, 2, 'and so does its checkpoint')
  t.equal(readdirSync(scratch).length, 1)
  await guestIo(libvirtd, VM, 'write -P 0x44 50M 64k')

  const next = await ran(options)
  t.strictSame(warnings(next), ['RECOVERED'])
  t.strictSame(modes(next), ['incremental', 'incremental'])
  t.equal(next.disks[0]?.bytes.read, 32 * 1024 ** 2 + 65_536)
  await matchesImages(t, here, next)
  t.strictSame(await checkpoints(here), [checkpointOf(next)])
  t.not(checkpointOf(next), before[0])
  t.strictSame(readdirSync(scratch), [])
})

t.test(
  'one disk is committed and the other is not: each counts from its own checkpoint',
  async t => {
    const here = await backedUpScene(t)
    const { libvirtd, options } = here
    const before = await checkpoints(here)
    await guestIo(libvirtd, VM, 'write -P 0x33 0 16M', 1)
    const controller = new AbortController()
    const events: MoverEvent[] = []
    const slow = ran(
      { ...options, bytesPerSecond: 4 * 1024 ** 2, signal: controller.signal },
      events,
    )
    const failed = t.rejects(slow, { code: 'CANCELLED' })
    await until(async () => (await here.repository.manifests('vm/vda')).length === 2)
    controller.abort()
    await failed
    t.equal((await checkpoints(here)).length, 2)
    await guestIo(libvirtd, VM, 'write -P 0x44 40M 64k')
    await guestIo(libvirtd, VM, 'write -P 0x44 40M 64k', 1)
    const next = await ran(options)
    t.match(modes(next), ['incremental', /^(incremental|differential)$/])
    t.strictSame(
      next.disks.map(({ bytes }) => bytes.read),
      [65_536, 16 * 1024 ** 2 + 65_536],
    )
    await matchesImages(t, here, next)
    t.strictSame(await checkpoints(here), [checkpointOf(next)])
    t.notOk(before.includes(checkpointOf(next)))
  },
)

t.test('QEMU is killed during a backup: it fails, and the next one is whole', async t => {
  const here = await backedUpScene(t)
  const { libvirtd, options } = here
  await guestIo(libvirtd, VM, 'write -P 0x33 0 32M')
  const events: MoverEvent[] = []
  const slow = ran({ ...options, bytesPerSecond: 4 * 1024 ** 2 }, events)
  // Whichever is seen first: that its job has ended, or that nothing can be read.
  const failed = t.rejects(slow, { code: /^SOURCE_(CHANGED|FAILED)$/ })
  await until(() => events.some(({ type }) => type === 'progress'))
  process.kill(qemuPid(libvirtd, VM), 'SIGKILL')
  await failed
  t.strictSame(readdirSync(here.scratch), [])
  await until(() => isOff(here))
  await libvirtd.virsh('start', VM)
  const next = await ran(options)
  t.strictSame(modes(next), ['rescan', 'rescan'])
  await matchesImages(t, here, next)
  t.strictSame(await checkpoints(here), [checkpointOf(next)])
})

t.test('libvirt has forgotten the checkpoint: a rescan, and then tracking again', async t => {
  const here = await backedUpScene(t)
  const [own = ''] = await checkpoints(here)
  await here.libvirtd.virsh('checkpoint-delete', VM, own, '--metadata')
  const next = await ran(here.options)
  t.strictSame(modes(next), ['rescan', 'rescan'])
  t.match(reasons(next), [/^the checkpoint of the newest backup is gone/])
  await matchesImages(t, here, next)
  t.strictSame(modes(await ran(here.options)), ['incremental', 'incremental'])
})

t.test('a scratch folder that QEMU cannot use is told, with what it needs', async t => {
  const here = await backedUpScene(t)
  const scratch = join(here.folder, 'unseen')
  mkdirSync(scratch)
  // Mounted after libvirt has begun, it is there for mover and not for QEMU.
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', scratch])
  t.teardown(() => execFileSync('umount', [scratch]))
  await t.rejects(ran({ ...here.options, scratch }), {
    code: 'HYPERVISOR_FAILED',
    remedy: /--scratch DIR.*QEMU's user.*write/,
  })
  t.strictSame(readdirSync(scratch), [])
})
