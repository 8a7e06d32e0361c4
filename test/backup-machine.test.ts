import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backupMachine } from '../src/backup-machine.js'
import type { BackupResult } from '../src/backup.js'
import { MoverError, type MoverErrorCode } from '../src/core/errors.js'
import type { Machine, PointInTime } from '../src/hypervisor/point-in-time.js'
import { backedUpDisk, machineScene, VOLUME } from './support/machine-scene.js'
import { bitmapsOf, leftoversOf, rawOf, startMachine } from './support/qemu.js'
import { idOf, restored } from './support/repository.js'
import { runMoverJson } from './support/run-mover.js'
import { cmp, MiB } from './support/volumes.js'

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

/** QEMU 7.2 ended when a client left an export that an iothread ran, and mover has to be one. */
t.test('a disk of an iothread is refused where that could end the machine', async t => {
  const { dir, image, repository } = await machineScene(t)
  const disks = [0, 1, 2].map(number => ({
    node: `disk${number}`,
    file: join(dir, `disk-${number}.qcow2`),
    hasThread: number === 1,
  }))
  for (const { file } of disks) execFileSync('cp', [image, file])
  const [plain, threaded, scsi] = disks
  if (plain === undefined || threaded === undefined || scsi === undefined) return
  const machine = await startMachine(t, [plain, threaded])
  await machine.qmp.execute('cont')
  const { qemu } = (await machine.qmp.execute('query-version')) as { qemu: { major: number } }
  const attempt = backedUpDisk(machine, { repository, disks: 'disk1' })
  if (qemu.major >= 9) t.match(await attempt, { mode: 'full' })
  else await t.rejects(attempt, { code: 'HYPERVISOR_REFUSED', message: /iothread/ })
  t.match(await backedUpDisk(machine, { repository, disks: 'disk0' }), { mode: 'full' })
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.equal(machine.child.signalCode, null)

  const controller = 'virtio-scsi-pci,id=scsi,iothread=t0'
  const behind = await startMachine(
    t,
    [],
    [
      ...['-object', 'iothread,id=t0', '-device', controller],
      ...['-blockdev', `driver=file,node-name=f,filename=${scsi.file}`],
      ...['-blockdev', 'driver=qcow2,node-name=disk2,file=f'],
      ...['-device', 'scsi-hd,drive=disk2,id=sda,bus=scsi.0'],
    ],
  )
  const other = backedUpDisk(behind, { repository, disks: 'sda' })
  if (qemu.major >= 9) t.match(await other, { mode: 'full' })
  else await t.rejects(other, { code: 'HYPERVISOR_REFUSED', message: /iothread/ })
})

t.test('options that mean nothing of a machine are refused before it is asked', async t => {
  const { machine, repository } = await machineScene(t)
  const source = `qmp:${machine.socket}/disk0`
  const rows: [string[], RegExp, RegExp][] = [
    [['--dry-run'], /--dry-run .* it would have to be frozen/, /mover cbt status SOURCE/],
    [['--read-holes'], /--read-holes .* what is a hole/, /leave out --read-holes/],
    [['--checkpoint', 'x'], /its hypervisor tells what changed/, /leave out --checkpoint/],
    [['--parent', 'latest'], /its hypervisor tells what changed/, /leave out --parent/],
    [['--changes', 'bitmap:x,granularity=64KiB'], /tells what changed/, /leave out --changes/],
  ]
  for (const [words, message, remedy] of rows) {
    const { code, error } = await runMoverJson(['backup', source, '--volume', 'v', ...words], {
      repository: repository.path,
    })
    t.equal(code, 2)
    t.match(error, { code: 'ARGUMENT_INVALID', message, remedy })
  }
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [])
  t.strictSame(await repository.manifests(), [])
})

t.test('a failure is told as what it was, or as the end of the view', async t => {
  const { dir, raw, repository } = await machineScene(t)
  const attempt = (parts: Partial<PointInTime>, source = raw) => {
    const facts = { name: 'disk0', volumeBytes: 16 * MiB }
    const frozen = { ...facts, source, identity: 'disk', checkpoint: 'c' }
    const machine: Machine = {
      name: 'machine',
      isOneDisk: true,
      disks: [facts],
      begin: async () => ({
        disks: [{ ...frozen, tracking: { kind: 'lost', reason: 'none' } }],
        attachments: [],
        check: async () => {},
        committed: async () => {},
        [Symbol.asyncDispose]: async () => {},
        ...parts,
      }),
      tracked: async () => [],
      [Symbol.asyncDispose]: async () => {},
    }
    return backupMachine({ machine, repository, volume: VOLUME }).result
  }
  const fails = (code: MoverErrorCode) => async () => {
    throw new MoverError(code, 'the check')
  }
  const source = join(dir, 'nosuch')
  const unusable = { code: 'SOURCE_UNUSABLE', message: /nosuch/ }
  await t.rejects(attempt({}, source), unusable)
  await t.rejects(attempt({ check: fails('SOURCE_CHANGED') }, source), { message: 'the check' })
  await t.rejects(attempt({ check: fails('HYPERVISOR_FAILED') }, source), unusable)
  const given = new MoverError('SOURCE_FAILED', 'given up')
  await t.rejects(attempt({ voided: AbortSignal.abort(given) }), { message: 'given up' })
  t.strictSame(await repository.manifests(), [])
})
