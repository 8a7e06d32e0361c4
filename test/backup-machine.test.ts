import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  backupMachine,
  type BackupMachineOptions,
  type BackupMachineResult,
} from '../src/backup-machine.js'
import type { BackupResult } from '../src/backup.js'
import type { Machine } from '../src/hypervisor/point-in-time.js'
import { openMachine } from '../src/open-machine.js'
import type { Repository } from '../src/repository.js'
import { bitmapsOf, leftoversOf, rawOf, startMachine, type TestMachine } from './support/qemu.js'
import { idOf, makeRepository, restored } from './support/repository.js'
import { runMoverJson } from './support/run-mover.js'
import { cmp, makeVolume, MiB } from './support/volumes.js'

const VOLUME = 'vm-42/sda'

/** A qcow2 of 16 MiB with data in a machine that runs. */
async function scene(t: Test) {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 16 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  const machine = await startMachine(t, [{ node: 'disk0', file: image }])
  return { dir, raw, image, machine, repository: await makeRepository(t, join(dir, 'repo')) }
}

interface Done extends Partial<BackupMachineOptions> {
  readonly repository: Repository
  /** What the guest does while its disks are frozen. */
  readonly meanwhile?: () => Promise<void>
}

/** Backs up by the library, the guest writing after the freeze and before a byte is read. */
async function backedUp(
  { socket, scratch }: TestMachine,
  { meanwhile = async () => {}, ...options }: Done,
): Promise<BackupMachineResult> {
  await using opened = await openMachine(`qmp:${socket}/disk0`, { scratch })
  const machine: Machine = {
    ...opened,
    begin: async request => {
      const point = await opened.begin(request)
      await meanwhile()
      return point
    },
  }
  await using job = backupMachine({ volume: VOLUME, ...options, machine })
  return await job.result
}

function only({ disks }: BackupMachineResult): BackupResult {
  const [disk, another] = disks
  if (disk === undefined || another !== undefined) throw new Error('one disk was expected')
  return disk
}

t.test('what a guest writes during a backup is in the next one, and not in this', async t => {
  const { dir, raw, machine, repository } = await scene(t)
  const target = join(dir, 'restored')
  const holds = async (result: BackupResult, expected: string) => {
    await restored({ repository, manifest: idOf(result), target })
    t.equal(await cmp(target, expected), '')
    execFileSync('rm', [target])
  }
  const during = join(dir, 'during')
  const full = only(
    await backedUp(machine, {
      repository,
      meanwhile: () => machine.guest('disk0', 'write -P 0x11 1M 64k', 'write -z 2M 1M'),
    }),
  )
  t.match(full, { mode: 'full', requested: 'full', reason: null, volume: VOLUME })
  await holds(full, raw)

  await machine.guest('disk0', 'write -P 0x22 5M 128k', 'flush')
  rawOf(join(dir, 'disk.qcow2'), during)
  const next = only(
    await backedUp(machine, {
      repository,
      audit: 'off',
      meanwhile: () => machine.guest('disk0', 'write -P 0x33 5M 64k', 'write -P 0x44 9M 64k'),
    }),
  )
  t.match(next, { mode: 'incremental', reason: null, parent: full.manifest })
  t.equal(next.bytes.read, 3 * 65_536, 'what was zeroed is not read')
  await holds(next, during)

  await machine.guest('disk0', 'flush')
  rawOf(join(dir, 'disk.qcow2'), during)
  const last = only(await backedUp(machine, { repository }))
  t.match(last, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  await holds(last, during)
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${last.checkpoint}+`])
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.strictSame(readdirSync(machine.scratch).sort(), ['own', 'qmp'])
})

t.test('one command backs up a running machine', async t => {
  const { dir, image, machine, repository } = await scene(t)
  const { socket, scratch } = machine
  const words = ['backup', `qmp:${socket}/dev-disk0`, '--volume', VOLUME, '--scratch', scratch]
  const full = await runMoverJson(words, { repository: repository.path })
  t.match(full, { code: 0, result: { operation: 'backup-machine', set: null } }, full.stderr)
  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'flush')
  const next = await runMoverJson(words, { repository: repository.path })
  t.match(next, { code: 0, result: { disks: [{ mode: 'incremental', bytes: { read: 65_536 } }] } })
  const target = join(dir, 'restored')
  const restore = ['restore', `${VOLUME}@latest`, target]
  t.equal((await runMoverJson(restore, { repository: repository.path })).code, 0)
  const expected = join(dir, 'expected')
  rawOf(image, expected)
  t.equal(await cmp(target, expected), '')
})
