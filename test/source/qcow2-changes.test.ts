import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Repository } from '../../src/repository.js'
import { openChanges } from '../../src/source/open-changes.js'
import { qcow2Changes } from '../../src/source/qcow2-changes.js'
import { said } from '../support/extents.js'
import {
  addBitmap,
  createImage,
  guest,
  peek,
  poke,
  qemuImg,
  setBits,
  StorageDaemon,
} from '../support/qcow2-images.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { attachLoop, cmp, GiB, makeVolume, MiB, TiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'
const INCOMPATIBLE = 72
const AUTOCLEAR = 88

interface Scene {
  /** The raw device with the bytes, whose bitmaps the shell keeps. */
  readonly device: string
  readonly shell: string
  readonly repository: Repository
  readonly dir: string
}

/** A raw device that was backed up as "monday", when its shell's bitmap `monday` was made. */
async function scene(t: Test): Promise<Scene> {
  const dir = t.testdir({})
  const [device, shell] = [join(dir, 'device'), join(dir, 'shell.qcow2')]
  await makeVolume(device, { bytes: 16 * MiB, seed: 9 })
  createImage(shell, '16M', `data_file=${device}`, 'data_file_raw=on')
  // Making the shell empties the device.
  await makeVolume(device, { bytes: 16 * MiB, seed: 9 })
  addBitmap(shell, 'monday')
  const repository = await makeRepository(t, join(dir, 'repo'))
  await backedUp({ source: device, repository, volume: VOLUME, checkpoint: 'monday' })
  return { dir, device, shell, repository }
}

/** Backs up by the bitmap, restores, and compares with what the device holds. */
async function backsUp(t: Test, { dir, device, shell, repository }: Scene) {
  const changes = await openChanges(`qcow2:${shell},bitmap=monday,since=monday`)
  const result = await backedUp({ source: device, repository, volume: VOLUME, changes })
  const target = join(dir, 'restored')
  rmSync(target, { force: true })
  await restored({ repository, manifest: idOf(result), target })
  t.equal(await cmp(target, device), '', 'the bytes are right')
  return result
}

t.test('the map from the shell, the bytes from the device beside it', async t => {
  const at = await scene(t)
  guest(at.shell, 'write -P 0x11 3M 128k', 'write -z 5M 64k', 'write -P 7 16776704 512')
  const result = await backsUp(t, at)
  t.match(result, { mode: 'incremental', reason: null })
  t.equal(result.bytes.read + result.bytes.zero >= 4 * 65_536, true)
  t.ok(result.bytes.carried >= 15 * MiB)
  t.ok(result.audit.slots > 0)
})

/** As on a SAN: the bytes by O_DIRECT from the device, whatever the page cache has of it. */
t.test('the device is a block device', async t => {
  const dir = t.testdir({})
  const [file, shell] = [join(dir, 'lun'), join(dir, 'shell.qcow2')]
  await makeVolume(file, { bytes: 16 * MiB, seed: 9 })
  const device = await attachLoop(t, file)
  createImage(shell, '16M', `data_file=${device}`, 'data_file_raw=on')
  addBitmap(shell, 'monday')
  const repository = await makeRepository(t, join(dir, 'repo'))
  const at = { dir, device, shell, repository }
  await backedUp({ source: device, repository, volume: VOLUME, checkpoint: 'monday' })
  guest(shell, 'write -P 0x11 3M 128k', 'write -z 5M 64k', 'discard 8M 1M')
  const result = await backsUp(t, at)
  t.match(result, { mode: 'incremental', reason: null })
  t.ok(result.bytes.carried >= 14 * MiB)
})

/** What happens to the shell after the full backup, and why its bitmap is then not believed. */
const lost: {
  readonly name: string
  readonly reason: string
  readonly happens: (shell: string, t: Test) => Promise<void> | void
}[] = [
  {
    name: 'its writer was killed',
    reason: 'bitmap-in-use',
    async happens(shell, t) {
      const daemon = await StorageDaemon.open(t, shell)
      daemon.guest('write -P 1 1M 64k')
      await daemon.kill()
    },
  },
  {
    name: 'a bitmap that was never saved, because its writer was killed',
    reason: 'bitmap-absent',
    async happens(shell, t) {
      qemuImg('bitmap', '--remove', shell, 'monday')
      const daemon = await StorageDaemon.open(t, shell)
      const bitmap = { node: 'disk', name: 'monday', persistent: true }
      await daemon.qmp('block-dirty-bitmap-add', bitmap)
      daemon.guest('write -P 1 1M 64k')
      await daemon.kill()
    },
  },
  {
    name: 'a writer that does not know bitmaps',
    reason: 'bitmaps-dropped',
    happens: shell => setBits(shell, AUTOCLEAR, 1n, false),
  },
  {
    name: 'it was disabled, and then written to',
    reason: 'bitmap-disabled',
    happens(shell) {
      qemuImg('bitmap', '--disable', shell, 'monday')
      guest(shell, 'write -P 1 1M 64k')
    },
  },
  {
    name: 'it was removed',
    reason: 'bitmap-absent',
    happens: shell => void qemuImg('bitmap', '--remove', shell, 'monday'),
  },
  {
    name: 'the shell was made anew, as one of version 2',
    reason: 'bitmap-absent',
    happens(shell) {
      rmSync(shell)
      createImage(shell, '16M', 'compat=0.10')
    },
  },
  {
    name: 'the image is marked as dirty',
    reason: 'image-dirty',
    happens: shell => setBits(shell, INCOMPATIBLE, 1n),
  },
  {
    name: 'the image is marked as corrupt',
    reason: 'image-corrupt',
    happens: shell => setBits(shell, INCOMPATIBLE, 2n),
  },
  {
    name: 'the image has a feature of the future',
    reason: 'image-unknown',
    happens: shell => setBits(shell, INCOMPATIBLE, 1n << 40n),
  },
]

for (const { name, reason, happens } of lost) {
  t.test(`${name}: all is read, and the backup says why`, async t => {
    const at = await scene(t)
    guest(at.shell, 'write -P 0x11 3M 128k')
    await happens(at.shell, t)
    const result = await backsUp(t, at)
    t.match(result, { requested: 'incremental', mode: 'rescan', reason })
    t.equal(result.bytes.carried, 0)
    const manifest = await at.repository.resolve(idOf(result), VOLUME)
    t.match(manifest, { mode: 'rescan', reason })
  })
}

t.test('an image that a program has open for writing', async t => {
  const at = await scene(t)
  const daemon = await StorageDaemon.open(t, at.shell)
  daemon.guest('write -P 1 1M 64k')
  t.match(await backsUp(t, at), { mode: 'rescan', reason: 'image-in-use' })
  await daemon.quit()
  t.match(await backsUp(t, at), { mode: 'differential', reason: null }, 'saved when it ended')
})

t.test('a bitmap that the program made while it ran, and saved', async t => {
  const at = await scene(t)
  qemuImg('bitmap', '--remove', at.shell, 'monday')
  const daemon = await StorageDaemon.open(t, at.shell)
  const bitmap = { node: 'disk', name: 'monday', persistent: true, granularity: 4096 }
  await daemon.qmp('block-dirty-bitmap-add', bitmap)
  daemon.guest('write -P 1 1M 4k', 'discard 2M 1M')
  await daemon.quit()
  const result = await backsUp(t, at)
  t.match(result, { mode: 'incremental', reason: null })
  t.ok(result.bytes.carried > 14 * MiB)
})

/** Disabled, written to, enabled: no flag of the bitmap's tells. */
t.test('a gap that nothing shows is found by the audit', async t => {
  const at = await scene(t)
  qemuImg('bitmap', '--disable', at.shell, 'monday')
  guest(at.shell, 'write -P 0x77 0 12M')
  qemuImg('bitmap', '--enable', at.shell, 'monday')
  await t.rejects(backsUp(t, at), { code: 'AUDIT_MISMATCH' })
  t.match(await backsUp(t, at), { mode: 'rescan', reason: 'tracker-lied' })
})

t.test('a device that was written to behind its shell is found by the audit', async t => {
  const at = await scene(t)
  guest(at.shell, 'write -P 0x11 3M 128k')
  await makeVolume(at.device, { bytes: 16 * MiB, seed: 10 })
  await t.rejects(backsUp(t, at), { code: 'AUDIT_MISMATCH' })
  const { repository, device } = at
  const rescan = await backedUp({ source: device, repository, volume: VOLUME })
  t.match(rescan, { mode: 'rescan' })
})

/** The header of the bitmap's entry in the directory, and its name. */
function entryAt(image: string): { readonly at: number; readonly bytes: Buffer } {
  const header = peek(image, 0, 65_536)
  let at = header.readUInt32BE(100)
  while (header.readUInt32BE(at) !== 0x2385_2875) {
    at += 8 + Math.ceil(header.readUInt32BE(at + 4) / 8) * 8
  }
  const offset = Number(header.readBigUInt64BE(at + 8 + 16))
  return { at: offset, bytes: peek(image, offset, 64) }
}

t.test('flags and data of the future', async t => {
  const { dir, shell } = await scene(t)
  const volume = { volumeBytes: 16 * MiB, parentVolumeBytes: 16 * MiB }
  const rows: [string, (bytes: Buffer) => void, object][] = [
    ['none', () => {}, { kind: 'superset' }],
    ['a flag', bytes => bytes.writeUInt32BE(2 + 8, 12), { reason: 'bitmap-unknown' }],
    ['another type', bytes => bytes.writeUInt8(2, 16), { reason: 'bitmap-unknown' }],
    ['a granularity of 4 GiB', bytes => bytes.writeUInt8(32, 17), { reason: 'bitmap-unknown' }],
    ['in use, as all else', bytes => bytes.writeUInt32BE(1, 12), { reason: 'bitmap-in-use' }],
    ['extra data', withExtraData(2), { reason: 'bitmap-unknown' }],
    ['extra data that may be ignored', withExtraData(2 + 4), { kind: 'superset' }],
  ]
  for (const [name, change, health] of rows) {
    const copy = join(dir, 'copy.qcow2')
    copyFileSync(shell, copy)
    const { at, bytes } = entryAt(copy)
    change(bytes)
    poke(copy, at, bytes)
    const answer = await qcow2Changes({ path: copy, bitmap: 'monday' }).changed(volume)
    t.match(answer.health, health, name)
  }
})

/** Moves the last two of its name's six bytes into extra data: an entry as long as before. */
function withExtraData(flags: number): (bytes: Buffer) => void {
  return bytes => {
    bytes.writeUInt32BE(flags, 12)
    bytes.writeUInt32BE(2, 20)
    bytes.copyWithin(26, 24, 30)
  }
}

t.test('a map of 6 TiB, all of its shapes', async t => {
  const image = join(t.testdir({}), 'large.qcow2')
  createImage(image, '6T', 'cluster_size=512k')
  addBitmap(image, 'monday')
  const last = 6 * TiB - 512
  guest(image, 'write 0 64k', 'write 4G 64k', `write -z 5T 1G`, `write ${last} 512`)
  const volume = { volumeBytes: 6 * TiB, parentVolumeBytes: 6 * TiB }
  const { health, granularityBytes, extents } = await qcow2Changes({
    path: image,
    bitmap: 'monday',
  }).changed(volume)
  t.match({ health, granularityBytes }, { health: { kind: 'superset' }, granularityBytes: 65_536 })
  const dirty = (await said(extents)).filter(extent => extent.startsWith('data'))
  t.strictSame(dirty, [
    'data 0+65536',
    `data ${4 * GiB}+65536`,
    `data ${5 * TiB}+${GiB}`,
    `data ${6 * TiB - 65_536}+65536`,
  ])
})

/** QEMU writes no bits for clusters of bits that are all of one kind. */
t.test('clusters of bits that are all set, all clear, or both', async t => {
  const image = join(t.testdir({}), 'small-clusters.qcow2')
  createImage(image, '64M', 'cluster_size=512')
  addBitmap(image, 'monday', '512')
  guest(image, 'write 2M 4M', 'write 8M 3M', `write ${64 * MiB - 512} 512`)
  const volume = { volumeBytes: 64 * MiB, parentVolumeBytes: 64 * MiB }
  const { extents } = await qcow2Changes({ path: image, bitmap: 'monday' }).changed(volume)
  t.strictSame(await said(extents), [
    `clean 0+${2 * MiB}`,
    `data ${2 * MiB}+${4 * MiB}`,
    `clean ${6 * MiB}+${2 * MiB}`,
    `data ${8 * MiB}+${3 * MiB}`,
    `clean ${11 * MiB}+${53 * MiB - 512}`,
    `data ${64 * MiB - 512}+512`,
  ])
})

t.test(
  'sizes: another volume is refused, a resized one not believed, an odd one rounded',
  async t => {
    const { shell } = await scene(t)
    const changes = qcow2Changes({ path: shell, bitmap: 'monday' })
    const ask = (volumeBytes: number, parentVolumeBytes: number) =>
      changes.changed({ volumeBytes, parentVolumeBytes })
    const { extents } = await ask(15 * MiB, 15 * MiB)
    await t.rejects(said(extents), {
      code: 'CHANGES_MALFORMED',
      message: /does not fit the volume/,
    })
    t.match(await ask(16 * MiB, 15 * MiB), { health: { kind: 'lost', reason: 'resized' } })
    await t.rejects(ask(14 * MiB, 15 * MiB), { code: 'CHANGES_MALFORMED' })
    const odd = await ask(16 * MiB - 100, 16 * MiB - 100)
    t.strictSame(await said(odd.extents), [`clean 0+${16 * MiB - 100}`])
  },
)

t.test('files that are no image', async t => {
  const { dir, device } = await scene(t)
  const volume = { volumeBytes: 16 * MiB, parentVolumeBytes: 16 * MiB }
  const rows = [
    { path: join(dir, 'missing'), code: 'CHANGES_FAILED', message: /cannot read the change map/ },
    { path: dir, code: 'CHANGES_FAILED', message: /cannot read the change map/ },
    {
      path: device,
      code: 'CHANGES_MALFORMED',
      message: /not a sound qcow2 image/,
      remedy: /qemu-img check/,
    },
  ]
  for (const { path, ...expected } of rows) {
    const asked = qcow2Changes({ path, bitmap: 'monday' }).changed(volume)
    await t.rejects(asked, { ...expected, stage: 'plan' }, path)
  }
})

t.test('names of bitmaps in images', async t => {
  const changes = await openChanges('qcow2:a,b.qcow2,since=ck,bitmap=x,y')
  t.match(changes, { since: 'ck', name: "x,y in 'a,b.qcow2'" })
  for (const spec of ['qcow2:a', 'qcow2:,bitmap=x', 'qcow2:a,bitmap=', 'qcow2:a,since=x']) {
    await t.rejects(openChanges(spec), { code: 'ARGUMENT_INVALID' }, spec)
  }
  t.notOk(existsSync('a,b.qcow2'))
})
