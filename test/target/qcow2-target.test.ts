import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { restore } from '../../src/restore.js'
import { qcow2Changes } from '../../src/source/qcow2-changes.js'
import { said } from '../support/extents.js'
import { compareImages } from '../support/nbd-servers.js'
import { processesWith } from '../support/processes.js'
import {
  addBitmap,
  createImage,
  guest,
  peek,
  poke,
  qemuImg,
  StorageDaemon,
} from '../support/qcow2-images.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { changeVolume, cmp, makeVolume, MiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

/** A volume that is backed up, and as a file. */
async function scene(t: Test, bytes = 20 * MiB) {
  const dir = t.testdir({})
  const volume = join(dir, 'volume')
  await makeVolume(volume, { bytes, seed: 3 })
  const repository = await makeRepository(t, join(dir, 'repo'))
  const manifest = idOf(await backedUp({ source: volume, repository, volume: VOLUME }))
  const image = join(dir, 'image.qcow2')
  return { dir, volume, repository, manifest, image, target: `qcow2:${image}` }
}

/** Throws where the image is not sound, or has clusters that nothing uses. */
function checkImage(image: string): void {
  qemuImg('check', '-f', 'qcow2', image)
}

t.test('a new image is made, whole or not at all', async t => {
  const { dir, volume, repository, manifest, image, target } = await scene(t)
  const before = readdirSync(dir)
  const dry = await restored({ repository, manifest, target, dryRun: true })
  t.match(dry, { target, untouchedTailBytes: 0, bytes: { volume: 20 * MiB } })
  const job = restore({ repository, manifest, target })
  job.cancel()
  await t.rejects(job.result, { code: 'CANCELLED' })
  await job[Symbol.asyncDispose]()
  t.strictSame(readdirSync(dir), before)

  const result = await restored({ repository, manifest, target, readBack: true })
  t.match(result, { target, untouchedTailBytes: 0, readBack: true })
  t.ok(result.bytes.zero > 0)
  t.strictSame(readdirSync(dir), [...before, 'image.qcow2'].sort())
  t.equal(statSync(image).mode % 0o1000, 0o600, "it is its owner's alone")
  await t.resolves(compareImages(['qcow2', image], ['raw', volume]))
  checkImage(image)
  t.ok(statSync(image).blocks * 512 < result.bytes.written + 2 * MiB, 'zeroes take no room')
  t.strictSame(processesWith(image), [])
  await t.rejects(restored({ repository, manifest, target }), { code: 'TARGET_EXISTS' })
})

t.test('volumes of any size', async t => {
  for (const bytes of [0, 1, 511, 65_537, 3 * MiB + 7]) {
    const { dir, volume, repository, manifest, image, target } = await scene(t, bytes)
    t.match(await restored({ repository, manifest, target }), { untouchedTailBytes: 0 })
    const raw = join(dir, 'raw')
    qemuImg('convert', '-f', 'qcow2', '-O', 'raw', image, raw)
    const content = readFileSync(raw)
    t.ok(content.subarray(0, bytes).equals(readFileSync(volume)), `${bytes} bytes`)
    t.equal(content.length, Math.ceil(bytes / 512) * 512)
    t.ok(content.subarray(bytes).every(byte => byte === 0))
  }
})

t.test('into an image that is there: what it held, a larger disk, its bitmaps', async t => {
  const { dir, volume, repository, manifest, image, target } = await scene(t)
  createImage(image, '24M')
  guest(image, 'write -P 0xff 0 24M')
  qemuImg('snapshot', '-c', 'before', image)
  addBitmap(image, 'monday')
  await t.rejects(restored({ repository, manifest, target }), { code: 'TARGET_EXISTS' })
  const force = ['exists'] as const
  const result = await restored({ repository, manifest, target, force, readBack: true })
  t.match(result, { untouchedTailBytes: 4 * MiB })
  checkImage(image)
  const expected = Buffer.alloc(24 * MiB, 0xff)
  readFileSync(volume).copy(expected)
  writeFileSync(join(dir, 'expected'), expected)
  await t.resolves(compareImages(['qcow2', image], ['raw', join(dir, 'expected')]))
  const volumeOf = { volumeBytes: 24 * MiB, parentVolumeBytes: 24 * MiB }
  const { health, extents } = await qcow2Changes({ path: image, bitmap: 'monday' }).changed(
    volumeOf,
  )
  t.match(health, { kind: 'superset' }, 'it was closed in order')
  t.strictSame(await said(extents), [`data 0+${20 * MiB}`, `clean ${20 * MiB}+${4 * MiB}`])
})

t.test('onto a state that the image holds, only what differs is written', async t => {
  const { dir, volume, repository, manifest, image, target } = await scene(t)
  await restored({ repository, manifest, target })
  copyFileSync(volume, join(dir, 'first'))
  await changeVolume(volume, { seed: 5, writes: 30 })
  const second = idOf(await backedUp({ source: volume, repository, volume: VOLUME }))
  const force = ['exists'] as const
  const result = await restored({ repository, manifest: second, target, onto: manifest, force })
  t.ok(result.bytes.unchanged > 15 * MiB)
  await t.resolves(compareImages(['qcow2', image], ['raw', volume]))
  await restored({ repository, manifest, target, onto: 'auto', force })
  await t.resolves(compareImages(['qcow2', image], ['raw', join(dir, 'first')]))
  const wrong = restored({ repository, manifest: second, target, onto: second, force })
  await t.rejects(wrong, { code: 'TARGET_STATE' })
  const missing = restored({ repository, manifest, target: `${target}.no`, onto: manifest })
  await t.rejects(missing, { code: 'TARGET_STATE' })
})

t.test('into a shell, and so to its data file', async t => {
  const { dir, volume, repository, manifest, image, target } = await scene(t)
  const data = join(dir, 'data')
  createImage(image, '20M', `data_file=${data}`, 'data_file_raw=on')
  await restored({ repository, manifest, target, force: ['exists'] })
  t.equal(await cmp(data, volume), '')

  const shell = join(dir, 'repo', 'shell.qcow2')
  createImage(shell, '20M', `data_file=${join(dir, 'repo', 'data')}`)
  copyFileSync(shell, join(dir, 'shell.qcow2'))
  const inside = { repository, manifest, target: `qcow2:${join(dir, 'shell.qcow2')}` }
  await t.rejects(restored({ ...inside, force: ['exists'] }), {
    code: 'TARGET_REFUSED',
    details: { reason: 'repository' },
  })
})

t.test('a block device with an image on it, claimed for as long', async t => {
  const { dir, volume, repository, manifest } = await scene(t)
  const file = join(dir, 'disk')
  createImage(file, '20M')
  execFileSync('truncate', ['-s', '64M', file])
  const device = execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' }).trim()
  t.teardown(() => void execFileSync('losetup', ['-d', device]))
  await restored({ repository, manifest, target: `qcow2:${device}` })
  await t.resolves(compareImages(['qcow2', device], ['raw', volume]))
})

t.test('a disk that is full leaves no image', async t => {
  const { repository, manifest } = await scene(t)
  const small = mkdtempSync(join(tmpdir(), 'small-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8M', 'tmpfs', small])
  t.teardown(() => {
    execFileSync('umount', [small])
    rmdirSync(small)
  })
  const target = `qcow2:${join(small, 'image.qcow2')}`
  await t.rejects(restored({ repository, manifest, target }), { code: 'TARGET_FULL' })
  t.strictSame(readdirSync(small), [])
  t.strictSame(processesWith(small), [])
})

interface Refusal {
  readonly code: string
  readonly message?: RegExp
  readonly details?: { readonly reason: string }
}

t.test('what may not be written into is refused, and left as it is', async t => {
  const { dir, repository, manifest, image, target } = await scene(t)
  createImage(image, '20M')
  const force = ['exists'] as const
  const refuses = async (path: string, error: Refusal) => {
    const before = readFileSync(path)
    await t.rejects(restored({ repository, manifest, target: `qcow2:${path}`, force }), error)
    t.ok(readFileSync(path).equals(before), path)
  }
  const daemon = await StorageDaemon.open(t, image)
  await refuses(image, { code: 'TARGET_REFUSED', details: { reason: 'image-in-use' } })
  await daemon.quit()

  const small = join(dir, 'small.qcow2')
  createImage(small, '19M')
  await refuses(small, { code: 'TARGET_REFUSED', details: { reason: 'too-small' } })
  await refuses(join(dir, 'volume'), { code: 'TARGET_UNUSABLE', message: /not a sound qcow2/ })
  const corrupt = join(dir, 'corrupt.qcow2')
  createImage(corrupt, '20M')
  poke(corrupt, 79, Buffer.of(2))
  await refuses(corrupt, { code: 'TARGET_UNUSABLE', message: /corrupt/ })
  const guessed = join(dir, 'guessed.qcow2')
  qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, guessed)
  const at = peek(guessed, 0, 4096).indexOf(Buffer.from('e2792aca', 'hex'))
  poke(guessed, at, Buffer.of(0, 0, 0, 1))
  await refuses(guessed, { code: 'TARGET_UNUSABLE', message: /of which format/ })

  const elsewhere = `qcow2:${join(dir, 'no', 'such', 'folder')}`
  const nowhere = restored({ repository, manifest, target: elsewhere })
  await t.rejects(nowhere, { code: 'TARGET_UNUSABLE' })
  const inRepository = `qcow2:${join(dir, 'repo', 'x.qcow2')}`
  const within = restored({ repository, manifest, target: inRepository })
  await t.rejects(within, { code: 'TARGET_REFUSED', details: { reason: 'repository' } })
  t.strictSame(processesWith(dir), [])
  t.ok(target)
})
