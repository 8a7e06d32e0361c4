/** Several disks of one machine, frozen at one moment. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { backedUpMachine, differenceFrom } from '../../support/machine-scene.js'
import { bitmapsOf, leftoversOf, startMachine } from '../../support/qemu.js'
import { idOf, makeRepository, restored } from '../../support/repository.js'
import { runMoverJson } from '../../support/run-mover.js'
import { cmp, makeVolume, MiB } from '../../support/volumes.js'

/** A machine with a qcow2 and a raw disk. */
async function scene(t: Test) {
  const dir = t.testdir({})
  const [raw, qcow2] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 8 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, qcow2])
  const machine = await startMachine(t, [
    { node: 'disk0', file: qcow2 },
    { node: 'disk1', file: raw, format: 'raw' },
  ])
  return { dir, raw, qcow2, machine, repository: await makeRepository(t, join(dir, 'repo')) }
}

const both = { disks: 'disk0,disk1', volume: 'vm-42' }

t.test('two disks are one set, of one moment', async t => {
  const { dir, raw, qcow2, machine, repository } = await scene(t)
  const first = await backedUpMachine(machine, { repository, ...both })
  t.match(first.disks, [
    { volume: 'vm-42/disk0', mode: 'full' },
    { volume: 'vm-42/disk1', mode: 'full' },
  ])
  for (const disk of ['disk0', 'disk1']) await machine.guest(disk, 'write -P 1 1M 64k', 'flush')
  const before = join(dir, 'before')
  execFileSync('cp', [raw, before])
  const next = await backedUpMachine(machine, {
    repository,
    ...both,
    meanwhile: async () => {
      for (const disk of ['disk1', 'disk0']) await machine.guest(disk, 'write -P 2 1M 64k')
    },
  })
  const incremental = { mode: 'incremental', bytes: { read: 65_536 } }
  t.match(next.disks, [incremental, incremental])
  const manifests = await repository.manifests()
  const sets = next.disks.map(disk => manifests.find(({ id }) => id === disk.manifest)?.set)
  t.strictSame(sets, [
    { id: next.set, members: 2 },
    { id: next.set, members: 2 },
  ])
  t.not(next.set, first.set)

  const [, second] = next.disks
  const target = join(dir, 'restored')
  if (second !== undefined) await restored({ repository, manifest: idOf(second), target })
  t.equal(await cmp(target, before), '', 'what was written meanwhile is in neither')

  await machine.guest('disk0', 'flush')
  await machine.guest('disk1', 'flush')
  const [one, two] = (await backedUpMachine(machine, { repository, ...both })).disks
  if (one === undefined || two === undefined) throw new Error('two disks were expected')
  t.match([one, two], [incremental, incremental])
  t.equal(await differenceFrom(qcow2, { repository, result: one }), '')
  t.equal(await differenceFrom(raw, { repository, result: two, format: 'raw' }), '')
  t.strictSame(await leftoversOf(machine.qmp), [])
})

t.test('tracking is lost by the disk, and not by the set', async t => {
  const { machine, repository } = await scene(t)
  const first = await backedUpMachine(machine, { repository, ...both })
  const bitmap = { node: 'disk1', name: first.disks[1]?.checkpoint }
  await machine.qmp.execute('block-dirty-bitmap-remove', bitmap)
  const words = ['backup', `qmp:${machine.socket}/disk0,disk1`, '--volume', both.volume]
  const next = await runMoverJson([...words, '--scratch', machine.scratch], {
    repository: repository.path,
  })
  t.match(next.result?.['disks'], [
    { mode: 'incremental', reason: null },
    { mode: 'rescan', reason: 'no-bitmap' },
  ])
  t.match(
    next.lines.filter(({ type }) => type === 'fallback'),
    [{ disk: 'disk1', mode: 'rescan' }],
  )
})

t.test(
  'a disk that fails keeps its checkpoint, and the one that is committed moves on',
  async t => {
    const { machine, repository } = await scene(t)
    const first = await backedUpMachine(machine, { repository, ...both, audit: 'off' })
    const lied = { node: 'disk1', name: first.disks[1]?.checkpoint }
    await machine.qmp.execute('block-dirty-bitmap-disable', lied)
    await machine.guest('disk1', 'write -P 3 2M 64k')
    await machine.qmp.execute('block-dirty-bitmap-enable', lied)
    await machine.guest('disk0', 'write -P 3 2M 64k')
    await t.rejects(backedUpMachine(machine, { repository, ...both }), {
      code: 'AUDIT_MISMATCH',
      message: /^disk disk1: /,
      details: { disk: 'disk1' },
    })
    const latest = (await repository.manifests('vm-42/disk0')).at(-1)
    t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${latest?.checkpoint}+`])
    t.strictSame(await bitmapsOf(machine.qmp, 'disk1'), [`${lied.name}+`])
    t.match(latest, { mode: 'incremental', set: { members: 2 } })
    const next = await backedUpMachine(machine, { repository, ...both })
    t.match(next.disks, [
      { mode: 'incremental', reason: null },
      { mode: 'rescan', reason: 'tracker-lied' },
    ])
    t.strictSame(await leftoversOf(machine.qmp), [])
  },
)

t.test('one command for two disks', async t => {
  const { machine, repository } = await scene(t)
  const { socket, scratch } = machine
  const words = ['backup', `qmp:${socket}/disk0,disk1`, '--volume', 'vm-42', '--scratch', scratch]
  const ran = await runMoverJson(words, { repository: repository.path })
  t.match(ran, { code: 0, result: { disks: [{ mode: 'full' }, { mode: 'full' }] } }, ran.stderr)
  const disksOf = (wanted: string) =>
    ran.lines.filter(({ type }) => type === wanted).map(({ disk }) => disk)
  t.strictSame([...new Set(disksOf('stage'))], [undefined, 'disk0', 'disk1'])
  const shown = await runMoverJson(['show', 'vm-42/disk1@latest'], { repository: repository.path })
  t.match(shown.result, { set: { id: ran.result?.['set'], members: 2 } })
})
