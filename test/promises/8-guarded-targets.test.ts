/**
 * Promise 8: a target is written only if it may be. Each refusal is tried on a real device, with every
 * --force there is, and the device holds the same bytes afterwards.
 */
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Repository } from '../../src/repository.js'
import { FORCE_REASONS, guardTarget, type ForceReason } from '../../src/target/target-guard.js'
import { backedUp, idOf, inventory, makeRepository, restored } from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import { claim, deviceFolder, makeLoop, mountExt4, swapOn } from '../support/target-devices.js'
import { cmp, MiB, makeVolume, noLoopDevices } from '../support/volumes.js'

const VOLUME_BYTES = MiB + 512

interface Backup {
  readonly folder: string
  readonly volume: string
  readonly repository: Repository
  readonly manifest: string
}

async function backedUpVolume(t: Test, repositoryPath?: string): Promise<Backup> {
  const folder = deviceFolder(t)
  const volume = join(folder, 'volume')
  await makeVolume(volume, { bytes: VOLUME_BYTES, seed: 8 })
  const repository = await makeRepository(t, repositoryPath ?? join(folder, 'repository'))
  const result = await backedUp({ source: volume, repository, volume: 'vm' })
  return { folder, volume, repository, manifest: idOf(result) }
}

t.test(
  'a device that is mounted, swap, too small, read-only or held is not touched, whatever is forced',
  {
    skip: noLoopDevices,
  },
  async t => {
    const { folder, repository, manifest } = await backedUpVolume(t)
    const bytes = 4 * MiB
    const mounted = await makeLoop(t, { folder, bytes })
    await mountExt4(t, { folder, device: mounted.device })
    const swap = await makeLoop(t, { folder, bytes })
    const isSwap = await swapOn(t, swap.device)
    const small = await makeLoop(t, { folder, bytes: MiB, fill: 0xff })
    const fixed = await makeLoop(t, { folder, bytes, fill: 0xff, isReadOnly: true })
    const held = await makeLoop(t, { folder, bytes, fill: 0xff })
    await claim(t, held.device)
    const rows = [
      { ...mounted, reason: 'mounted' },
      ...(isSwap ? [{ ...swap, reason: 'swap' }] : []),
      { ...small, reason: 'too-small' },
      { ...fixed, reason: 'read-only' },
      { ...held, reason: 'held' },
    ]
    if (!isSwap) t.comment('this kernel has no swap to try')
    for (const { device, backing, reason } of rows) {
      const before = readFileSync(backing)
      for (const onto of [null, 'auto', manifest]) {
        for (const dryRun of [false, true]) {
          const options = {
            repository,
            manifest,
            target: device,
            force: FORCE_REASONS,
            onto,
            dryRun,
          }
          const refusal = { code: 'TARGET_REFUSED', details: { reason }, remedy: /no --force/ }
          await t.rejects(restored(options), refusal, `${reason}, onto ${onto}, dry run ${dryRun}`)
        }
      }
      t.ok(readFileSync(backing).equals(before), `${reason}: holds what it held`)
    }
  },
)

t.test(
  "the repository's own device is not written, though nobody sees that it is mounted",
  {
    skip: noLoopDevices,
  },
  async t => {
    const base = deviceFolder(t)
    const { device } = await makeLoop(t, { folder: base, bytes: 64 * MiB })
    const mountPoint = await mountExt4(t, { folder: base, device })
    const path = join(mountPoint, 'repository')
    const { repository, manifest } = await backedUpVolume(t, path)
    const before = inventory(path)
    const force = FORCE_REASONS
    await t.rejects(restored({ repository, manifest, target: device, force }), {
      code: 'TARGET_REFUSED',
      details: { reason: 'mounted' },
    })
    // As in a container that has tables of its own: the device of the folder itself tells.
    const guard = guardTarget(device, {
      force,
      identity: null,
      repositoryPath: path,
      procPath: base,
    })
    await t.rejects(guard, { code: 'TARGET_REFUSED', details: { reason: 'repository' } })
    t.strictSame(inventory(path), before)
    await repository[Symbol.asyncDispose]()
  },
)

t.test('no file of the repository is written over, nor is one made in it', async t => {
  const { folder, repository, manifest } = await backedUpVolume(t)
  const path = repository.path
  symlinkSync(path, join(folder, 'link'))
  const before = inventory(path)
  for (const target of [
    join(path, 'config/1'),
    join(path, 'new'),
    join(folder, 'link/packs/new'),
  ]) {
    await t.rejects(restored({ repository, manifest, target, force: FORCE_REASONS }), {
      code: 'TARGET_REFUSED',
      details: { reason: 'repository' },
    })
  }
  t.strictSame(inventory(path), before)
})

t.test('each word lifts one refusal and no other', { skip: noLoopDevices }, async t => {
  const { folder, volume, repository, manifest } = await backedUpVolume(t)
  const plain = join(folder, 'plain')
  await makeVolume(plain, { bytes: 4096, seed: 1 })
  const { backing } = await makeLoop(t, { folder, bytes: 4 * MiB })
  const { device } = await makeLoop(t, { folder, bytes: 4 * MiB })
  const other = await makeLoop(t, { folder, bytes: 4 * MiB })
  const rows: readonly {
    readonly target: string
    readonly needs: readonly ForceReason[]
    readonly identity?: string
  }[] = [
    { target: plain, needs: ['exists'] },
    { target: backing, needs: ['exists', 'in-use'] },
    { target: plain, needs: ['exists', 'identity'], identity: 'naa.1' },
    { target: device, needs: [] },
    { target: other.device, needs: ['identity'], identity: 'naa.1' },
  ]
  for (const { target, needs, identity } of rows) {
    for (const force of subsetsOf(FORCE_REASONS)) {
      const isEnough = needs.every(need => force.includes(need))
      const options = { repository, manifest, target, force, ...(identity && { identity }) }
      const what = `${force.join(' and ') || 'nothing'} forced for ${needs.join(' and ') || 'nothing'}`
      const before = await stat(target)
      if (isEnough) {
        await t.resolves(restored(options), what)
        t.equal(await cmp(volume, target, { bytes: VOLUME_BYTES }), '', what)
      } else {
        for (const dryRun of [true, false]) {
          const restoring = restored({ ...options, dryRun })
          await t.rejects(restoring, { code: /TARGET_(REFUSED|EXISTS)/ }, what)
        }
        const { size, mtimeMs } = await stat(target)
        t.strictSame({ size, mtimeMs }, { size: before.size, mtimeMs: before.mtimeMs }, what)
      }
    }
  }
})

t.test('by the binary, a word lifts no more than it says', { skip: noLoopDevices }, async t => {
  const { folder, volume, repository, manifest } = await backedUpVolume(t)
  const { backing } = await makeLoop(t, { folder, bytes: 4 * MiB })
  const rows = [
    { force: [], code: 3, error: { code: 'TARGET_REFUSED', details: { reason: 'in-use' } } },
    { force: ['exists'], code: 3, error: { details: { reason: 'in-use' } } },
    { force: ['in-use'], code: 3, error: { code: 'TARGET_EXISTS' } },
    { force: ['exists', 'identity'], code: 3, error: { details: { reason: 'in-use' } } },
    { force: ['exists', 'in-use'], code: 0, error: null },
  ]
  for (const { force, code, error } of rows) {
    const args = ['restore', manifest, backing, ...force.map(word => `--force=${word}`)]
    const finished = await runMoverJson(args, { repository: repository.path })
    t.equal(finished.code, code, args.slice(3).join(' '))
    t.match(finished.error, error, args.slice(3).join(' '))
  }
  t.equal(await cmp(volume, backing), '')
})

t.test(
  'a device that is free and large enough needs no force, and its tail stays',
  {
    skip: noLoopDevices,
  },
  async t => {
    const { folder, volume, repository, manifest } = await backedUpVolume(t)
    const { device, backing } = await makeLoop(t, { folder, bytes: 2 * MiB, fill: 0xff })
    const result = await restored({ repository, manifest, target: device, readBack: true })
    t.match(result, { target: device, untouchedTailBytes: MiB - 512, readBack: true })
    t.equal(await cmp(volume, device, { bytes: VOLUME_BYTES }), '')
    t.ok(
      readFileSync(backing)
        .subarray(VOLUME_BYTES)
        .every(byte => byte === 0xff),
    )
  },
)

function subsetsOf<T>(all: readonly T[]): T[][] {
  return all.reduce<T[][]>((sets, one) => [...sets, ...sets.map(set => [...set, one])], [[]])
}

t.test('a machine is no target, and no file of its name is made', async t => {
  const { folder, repository, manifest } = await backedUpVolume(t)
  const before = inventory(folder)
  for (const target of ['libvirt:vm-42', 'libvirt:vm-42/vda', `qmp:${folder}/vm.qmp/disk0`]) {
    for (const dryRun of [false, true]) {
      await t.rejects(restored({ repository, manifest, target, dryRun }), {
        code: 'ARGUMENT_INVALID',
        message: `'${target}' is a machine, and no target`,
        remedy: /stop it.*qcow2:FILE.*--domain-xml/,
      })
      t.notOk(existsSync(target))
    }
  }
  t.strictSame(inventory(folder), before)
})
