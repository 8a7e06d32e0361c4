import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { backup } from '../../src/backup.js'
import type { MoverEvent } from '../../src/core/progress.js'
import type { Repository } from '../../src/repository.js'
import { openChanges } from '../../src/source/open-changes.js'
import { openSource } from '../../src/source/open-source.js'
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
import { runMover, runMoverJson } from '../support/run-mover.js'
import { cmp, makeVolume, MiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

interface Scene {
  readonly dir: string
  readonly image: string
  readonly repository: Repository
}

/** An image of 32 MiB with data. */
async function scene(t: Test, ...options: readonly string[]): Promise<Scene> {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'volume'), join(dir, 'volume.qcow2')]
  await makeVolume(raw, { bytes: 32 * MiB, seed: 8 })
  qemuImg('convert', '-O', 'qcow2', ...options, raw, image)
  return { dir, image, repository: await makeRepository(t, join(dir, 'repo')) }
}

/** Backs up an image, by a bitmap where one is named, restores, and compares with what QEMU reads. */
async function backsUp(
  t: Test,
  { dir, repository }: Omit<Scene, 'image'>,
  image: string,
  changes: string | null = null,
) {
  const result = await backedUp({
    source: `qcow2:${image}`,
    repository,
    volume: VOLUME,
    checkpoint: changes === null ? 'monday' : 'tuesday',
    changes: changes === null ? null : await openChanges(changes),
  })
  const [target, expected] = [join(dir, 'restored'), join(dir, 'expected')]
  rmSync(target, { force: true })
  await restored({ repository, manifest: idOf(result), target })
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', image, expected)
  t.equal(await cmp(target, expected), '', 'the bytes are right')
  return result
}

t.test('images of every shape', async t => {
  const at = await scene(t)
  const { dir, image } = at
  const raw = join(dir, 'volume')
  const make: Record<string, (to: string) => void> = {
    'version 2': to => qemuImg('convert', '-O', 'qcow2', '-o', 'compat=0.10', raw, to),
    'clusters of 512 bytes': to =>
      qemuImg('convert', '-O', 'qcow2', '-o', 'cluster_size=512', raw, to),
    'clusters of 2 MiB': to => qemuImg('convert', '-O', 'qcow2', '-o', 'cluster_size=2M', raw, to),
    compressed: to => qemuImg('convert', '-c', '-O', 'qcow2', raw, to),
    'compressed with zstd': to =>
      qemuImg('convert', '-c', '-O', 'qcow2', '-o', 'compression_type=zstd', raw, to),
    'extended entries': to => qemuImg('convert', '-O', 'qcow2', '-o', 'extended_l2=on', raw, to),
    'with an internal snapshot': to => {
      qemuImg('convert', '-O', 'qcow2', raw, to)
      qemuImg('snapshot', '-c', 'before', to)
      guest(to, 'write -P 3 1M 2M')
    },
    'an overlay on a raw image': to => {
      qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'volume', to, '40M')
      guest(to, 'write -P 3 1M 2M', 'write -z 5M 1M')
    },
    'an overlay on an overlay, of longer names': to => {
      qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, `${to}:1`)
      qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', `${to}:1`, to)
      guest(to, 'write -P 3 1M 2M')
    },
    'a data file': to => {
      qemuImg('convert', '-O', 'qcow2', '-o', `data_file=${to}.data`, raw, to)
    },
    'a name like a protocol, with commas': to => qemuImg('convert', '-O', 'qcow2', raw, to),
  }
  for (const [name, fill] of Object.entries(make)) {
    const shaped = join(dir, name.includes('protocol') ? 'nbd:a,b=c' : `${name.length}.qcow2`)
    fill(shaped)
    await t.test(name, async t => void (await backsUp(t, at, shaped)))
  }
  await t.test('a block device', async t => {
    const file = join(dir, 'disk')
    qemuImg('convert', '-O', 'qcow2', raw, file)
    execFileSync('truncate', ['-s', '64M', file])
    const device = execFileSync('losetup', ['-f', '--show', file], { encoding: 'utf8' }).trim()
    t.teardown(() => void execFileSync('losetup', ['-d', device]))
    await backsUp(t, at, device)
  })
  t.strictSame(processesWith(dir), [], 'no server is left')
})

t.test('an incremental by the bitmap in the image', async t => {
  const at = await scene(t)
  addBitmap(at.image, 'monday')
  await backsUp(t, at, at.image)
  guest(at.image, 'write -P 0x11 1M 64k', 'write -z -u 5M 1M', 'discard 9M 2M')
  const changes = `qcow2:${at.image},bitmap=monday,since=monday`
  const result = await backsUp(t, at, at.image, changes)
  t.match(result, { mode: 'incremental', reason: null })
  t.ok(result.bytes.carried >= 28 * MiB)
})

/** What happens between two backups, and how the second is then made. */
const rows: {
  readonly name: string
  readonly happens: (image: string, t: Test) => Promise<string> | string
  readonly expected: { readonly mode: string; readonly reason: string | null }
}[] = [
  {
    name: 'the writer was killed',
    async happens(image, t) {
      const daemon = await StorageDaemon.open(t, image)
      daemon.guest('write -P 1 1M 64k')
      await daemon.kill()
      return image
    },
    expected: { mode: 'rescan', reason: 'bitmap-in-use' },
  },
  {
    name: 'an internal snapshot is not reverted to while there are bitmaps',
    happens(image) {
      t.throws(() => qemuImg('snapshot', '-a', 'before', image), /active dirty bitmaps/)
      return image
    },
    expected: { mode: 'incremental', reason: null },
  },
  {
    name: 'the image was grown',
    happens(image) {
      qemuImg('resize', '-q', image, '40M')
      guest(image, 'write -P 5 36M 1M')
      return image
    },
    expected: { mode: 'rescan', reason: 'resized' },
  },
  {
    name: 'an overlay was put on top, which has no bitmap',
    happens(image) {
      overlayOn(image)
      return `${image}.top`
    },
    expected: { mode: 'rescan', reason: 'bitmap-absent' },
  },
  {
    name: 'an overlay was put on top, with a bitmap of the name',
    happens(image) {
      overlayOn(image, 'monday')
      return `${image}.top`
    },
    expected: { mode: 'incremental', reason: null },
  },
  {
    name: 'two overlays were put on top, and the lower one lacks the bitmap',
    happens(image) {
      overlayOn(image)
      overlayOn(`${image}.top`, 'monday')
      return `${image}.top.top`
    },
    expected: { mode: 'rescan', reason: 'bitmap-gap' },
  },
  {
    name: 'the base below was left by a killed writer',
    async happens(image, t) {
      const daemon = await StorageDaemon.open(t, image)
      await daemon.kill()
      overlayOn(image, 'monday')
      return `${image}.top`
    },
    expected: { mode: 'rescan', reason: 'bitmap-in-use' },
  },
  {
    name: 'the image was converted, and the bitmaps left behind',
    happens(image) {
      qemuImg('convert', '-O', 'qcow2', image, `${image}.new`)
      return `${image}.new`
    },
    expected: { mode: 'rescan', reason: 'bitmap-absent' },
  },
  {
    name: 'the image was converted with its bitmaps',
    happens(image) {
      qemuImg('convert', '-O', 'qcow2', '--bitmaps', image, `${image}.new`)
      guest(`${image}.new`, 'write -P 9 8M 64k')
      return `${image}.new`
    },
    expected: { mode: 'incremental', reason: null },
  },
]

function overlayOn(image: string, bitmap?: string): void {
  qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, `${image}.top`)
  if (bitmap !== undefined) addBitmap(`${image}.top`, bitmap)
  guest(`${image}.top`, 'write -P 0x44 7M 128k')
}

for (const { name, happens, expected } of rows) {
  t.test(name, async t => {
    const at = await scene(t)
    qemuImg('snapshot', '-c', 'before', at.image)
    if (name.startsWith('A4')) qemuImg('snapshot', '-d', 'before', at.image)
    addBitmap(at.image, 'monday')
    await backsUp(t, at, at.image)
    guest(at.image, 'write -P 0x11 3M 128k')
    const image = await happens(at.image, t)
    const changes = `qcow2:${image},bitmap=monday,since=monday`
    t.match(await backsUp(t, at, image, changes), expected)
  })
}

/** The base's bitmap is whole, and sees nothing of what is written to the overlay. */
t.test("the base's bitmap is not taken for the overlay's", async t => {
  const at = await scene(t)
  addBitmap(at.image, 'monday')
  await backsUp(t, at, at.image)
  overlayOn(at.image)
  const changes = `qcow2:${at.image},bitmap=monday,since=monday`
  const result = await backsUp(t, at, `${at.image}.top`, changes)
  t.match(result, { mode: 'rescan', reason: 'other-image' })
})

/** The bitmap calls the tail clean that the shrinking emptied: only its bytes tell. */
t.test('shrunk, and grown again', async t => {
  const at = await scene(t)
  addBitmap(at.image, 'monday')
  await backsUp(t, at, at.image)
  qemuImg('resize', '-q', '--shrink', at.image, '16M')
  qemuImg('resize', '-q', at.image, '32M')
  const changes = `qcow2:${at.image},bitmap=monday,since=monday`
  await t.rejects(backsUp(t, at, at.image, changes), { code: 'AUDIT_MISMATCH' })
  t.match(await backsUp(t, at, at.image), { mode: 'rescan' })
})

t.test('an image in use is refused, and one that is read is not given to a writer', async t => {
  const { image } = await scene(t)
  const daemon = await StorageDaemon.open(t, image)
  await t.rejects(openSource(`qcow2:${image}`), {
    code: 'SOURCE_UNUSABLE',
    message: /a program has it open for writing/,
    remedy: /qmp:PATH\/NODE or libvirt:DOMAIN.*NBD/,
  })
  await daemon.quit()
  const source = await openSource(`qcow2:${image}`)
  const also = await openSource(`qcow2:${image}`)
  await also[Symbol.asyncDispose]()
  t.throws(() => guest(image, 'write 0 512'), /lock/)
  source.checkUnchanged()
  poke(image, 20 * MiB, Buffer.of(1))
  t.throws(() => source.checkUnchanged(), { code: 'SOURCE_CHANGED' })
  await source[Symbol.asyncDispose]()
  guest(image, 'write 0 512')
  t.strictSame(processesWith(image), [])
})

t.test('what is no image that can be read', async t => {
  const { dir, image } = await scene(t)
  const locked = join(dir, 'locked.qcow2')
  createImage(locked, '1M')
  // LUKS. On a busy machine qemu-img fails to make one: it measures how fast it can make a key.
  poke(locked, 32, Buffer.of(0, 0, 0, 2))
  const corrupt = join(dir, 'corrupt.qcow2')
  createImage(corrupt, '1M')
  poke(corrupt, 79, Buffer.of(2))
  const guessed = join(dir, 'guessed.qcow2')
  qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, guessed)
  const at = peek(guessed, 0, 4096).indexOf(Buffer.from('e2792aca', 'hex'))
  poke(guessed, at, Buffer.of(0, 0, 0, 1))
  const orphan = join(dir, 'orphan.qcow2')
  qemuImg('create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b', 'no', orphan, '1M')
  const guessedBelow = join(dir, 'guessed-below.qcow2')
  qemuImg('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', guessed, guessedBelow)
  const future = join(dir, 'future.qcow2')
  createImage(future, '1M')
  poke(future, 72, Buffer.of(1))
  const tables: [string, RegExp][] = [
    [join(dir, 'volume'), /does not begin as one/],
    [join(dir, 'missing'), /cannot be found/],
    [dir, /neither|not a|regular/],
    [locked, /it is encrypted/],
    [corrupt, /marked as corrupt/],
    [guessed, /does not say of which format/],
    [guessedBelow, /does not say of which format/],
    [orphan, /cannot be found/],
    [future, /qemu-nbd failed: .*[Uu]nsupported/],
  ]
  for (const [path, message] of tables) {
    await t.rejects(openSource(`qcow2:${path}`), { code: 'SOURCE_UNUSABLE', message }, path)
  }
  await t.rejects(openSource('qcow2:'), { code: 'ARGUMENT_INVALID' })
  t.strictSame(processesWith(dir), [])
})

/** A guest can write the header of an image, with any file of the host below it, to its raw disk. */
t.test('a raw volume that looks like an image is a raw volume, and there is a warning', async t => {
  const { dir, image, repository } = await scene(t)
  await using job = backup({ source: image, repository, volume: VOLUME })
  const warnings: MoverEvent[] = []
  for await (const event of job.events) if (event.type === 'warning') warnings.push(event)
  t.match(warnings, [{ code: 'QCOW2_AS_RAW', message: /its disk is qcow2:/ }])
  const target = join(dir, 'restored')
  await restored({ repository, manifest: idOf(await job.result), target })
  t.equal(await cmp(target, image), '')
})

/** A folder with a short name, as sockets need one. */
function shortFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'q-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('a missing qemu-nbd is an error that names the package', async t => {
  const { dir, image } = await scene(t)
  const programs = join(dir, 'programs')
  mkdirSync(programs)
  const setpriv = execFileSync('which', ['setpriv'], { encoding: 'utf8' }).trim()
  const back = ['backup', `qcow2:${image}`, '--volume', 'v']
  const options = { repository: join(dir, 'repo'), env: { PATH: programs } }
  t.match((await runMoverJson(back, options)).error, { remedy: /util-linux/ })
  symlinkSync(setpriv, join(programs, 'setpriv'))
  const { code, error } = await runMoverJson(back, options)
  t.equal(code, 4)
  t.match(error, {
    code: 'SOURCE_UNUSABLE',
    message: 'qemu-nbd is not installed',
    remedy: /qemu-utils/,
  })
})

t.test('nothing is left behind, whatever the end', async t => {
  const { dir, image } = await scene(t)
  const folder = shortFolder(t)
  const back = ['backup', `qcow2:${image}`, '--volume', 'v', '--full', '--rate', '1MiB']
  const options = { repository: join(dir, 'repo'), env: { TMPDIR: folder } }
  const reads = /"stage":"read"/
  const killed = await runMoverJson(back, { ...options, killFrom: reads, killAfterMs: 200 })
  t.equal(killed.signal, 'SIGKILL')
  for (let tries = 0; tries < 200 && processesWith(image).length > 0; tries += 1) await sleep(10)
  t.strictSame(processesWith(image), [], 'the server goes when its client is killed')
  t.strictSame(readdirSync(folder), [])

  // An interrupt as from a terminal goes to the whole group of processes.
  const interrupted = await runMover([...back, '--json'], {
    ...options,
    under: ['timeout', '--signal=INT', '2'],
  })
  t.match(interrupted.error, { code: 'CANCELLED' })
  t.strictSame(processesWith(image), [])
  t.strictSame(readdirSync(folder), [])

  const failed = await runMoverJson(['backup', `qcow2:${image}`, '--volume', ''], options)
  t.not(failed.code, 0)
  const whole = await runMoverJson(back.slice(0, 4), options)
  t.equal(whole.code, 0)
  t.strictSame([processesWith(image), readdirSync(folder)], [[], []])
  t.ok(readFileSync(image).length > 0)
})
