import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { BackupResult } from '../src/backup.js'
import {
  backedUpDisk,
  backedUpMachine,
  differenceFrom,
  machineScene,
  VOLUME,
} from './support/machine-scene.js'
import { bitmapsOf, leftoversOf, rawOf, startMachine } from './support/qemu.js'
import { idOf, restored } from './support/repository.js'
import { runMoverJson } from './support/run-mover.js'
import { cmp } from './support/volumes.js'

t.test('what a guest writes during a backup is in the next one, and not in this', async t => {
  const { dir, raw, machine, repository } = await machineScene(t)
  const target = join(dir, 'restored')
  const holds = async (result: BackupResult, expected: string) => {
    await restored({ repository, manifest: idOf(result), target })
    t.equal(await cmp(target, expected), '')
    execFileSync('rm', [target])
  }
  const during = join(dir, 'during')
  const full = await backedUpDisk(machine, {
    repository,
    meanwhile: () => machine.guest('disk0', 'write -P 0x11 1M 64k', 'write -z 2M 1M'),
  })
  t.match(full, { mode: 'full', requested: 'full', reason: null, volume: VOLUME })
  await holds(full, raw)

  await machine.guest('disk0', 'write -P 0x22 5M 128k', 'flush')
  rawOf(join(dir, 'disk.qcow2'), during)
  const next = await backedUpDisk(machine, {
    repository,
    audit: 'off',
    meanwhile: () => machine.guest('disk0', 'write -P 0x33 5M 64k', 'write -P 0x44 9M 64k'),
  })
  t.match(next, { mode: 'incremental', reason: null, parent: full.manifest })
  t.equal(next.bytes.read, 3 * 65_536, 'what was zeroed is not read')
  await holds(next, during)

  await machine.guest('disk0', 'flush')
  rawOf(join(dir, 'disk.qcow2'), during)
  const last = await backedUpDisk(machine, { repository })
  t.match(last, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  await holds(last, during)
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${last.checkpoint}+`])
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.strictSame(readdirSync(machine.scratch).sort(), ['own', 'qmp'])
})

t.test('one command backs up a running machine', async t => {
  const { dir, image, machine, repository } = await machineScene(t)
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

t.test('disks that a thread of their own serves', async t => {
  const { dir, image, repository } = await machineScene(t)
  const files = [0, 1].map(number => join(dir, `threaded-${number}.qcow2`))
  for (const file of files) execFileSync('cp', [image, file])
  const disks = files.map((file, number) => ({ node: `disk${number}`, file, hasThread: true }))
  const machine = await startMachine(t, disks)
  const both = { repository, disks: 'disk0,disk1' }
  // Its device serves it from then on by its thread.
  await machine.qmp.execute('cont')
  await backedUpMachine(machine, both)
  await machine.guest('disk1', 'write -P 0x11 1M 64k', 'flush')
  const [one, two] = (await backedUpMachine(machine, both)).disks
  if (one === undefined || two === undefined) throw new Error('two disks were expected')
  t.match(one, { mode: 'incremental', bytes: { read: 0 } })
  t.match(two, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(files[1] ?? '', { repository, result: two }), '')
  t.strictSame(await leftoversOf(machine.qmp), [])
})
