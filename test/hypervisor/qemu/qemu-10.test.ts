/** Backups of what QEMU 10 runs: its frozen views are read with extended headers. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { backedUpDisk, differenceFrom } from '../../support/machine-scene.js'
import { startDaemon, startMachine } from '../../support/qemu.js'
import { qemu10 } from '../../support/qemu-10.js'
import { makeRepository } from '../../support/repository.js'
import { makeVolume, MiB } from '../../support/volumes.js'

/** A qcow2 of 16 MiB with data. */
async function scene(t: Test) {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 16 * MiB, seed: 10 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  return { image, repository: await makeRepository(t, join(dir, 'repo')) }
}

t.test('a machine of QEMU 10, in full and then what changed', async t => {
  const { image, repository } = await scene(t)
  const { system, firmware } = qemu10()
  const machine = await startMachine(t, [{ node: 'disk0', file: image }], firmware, system)
  t.match(await machine.qmp.execute('query-version'), { qemu: { major: 10 } })
  const full = await backedUpDisk(machine, { repository })
  t.equal(await differenceFrom(image, { repository, result: full }), '')

  await machine.guest('disk0', 'write -P 0x11 1M 64k', 'write -z 5M 64k', 'flush')
  const result = await backedUpDisk(machine, {
    repository,
    meanwhile: () => machine.guest('disk0', 'write -P 0x12 1M 64k', 'write -P 0x13 9M 64k'),
  })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  await machine.guest('disk0', 'flush')
  const last = await backedUpDisk(machine, { repository })
  t.match(last, { mode: 'incremental', bytes: { read: 2 * 65_536 } })
  t.equal(await differenceFrom(image, { repository, result: last }), '')
})

t.test('a storage daemon of QEMU 10, in full and then what changed', async t => {
  const { image, repository } = await scene(t)
  const daemon = await startDaemon(t, image, qemu10().storageDaemon)
  const options = { nbdSocket: daemon.nbdSocket }
  const full = await backedUpDisk(daemon, { repository, options })
  t.equal(await differenceFrom(image, { repository, result: full }), '')

  daemon.guest('write -P 0x11 3M 64k', 'flush')
  const result = await backedUpDisk(daemon, { repository, options })
  t.match(result, { mode: 'incremental', bytes: { read: 65_536 } })
  t.equal(await differenceFrom(image, { repository, result }), '')
})
