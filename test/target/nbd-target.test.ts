import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { restore } from '../../src/restore.js'
import {
  compareImages,
  copyOf,
  nbdkit,
  nbdkitOnTcp,
  qemuNbd,
  storageDaemon,
} from '../support/nbd-servers.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { changeVolume, makeVolume, MiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

/** A volume that is backed up, its size odd, and as a file. */
async function scene(t: Test, bytes = 20 * MiB + 1536) {
  const dir = t.testdir({})
  const volume = join(dir, 'volume')
  await makeVolume(volume, { bytes, seed: 3 })
  const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: 16 * 1024 })
  const manifest = idOf(await backedUp({ source: volume, repository, volume: VOLUME }))
  return { dir, volume, repository, manifest, content: readFileSync(volume) }
}

const SIZE = '21M'

t.test('a raw file and a qcow2 through qemu-nbd, over what they held', async t => {
  const { dir, repository, manifest, content } = await scene(t)
  for (const format of ['raw', 'qcow2']) {
    const image = join(dir, `target.${format}`)
    execFileSync('qemu-img', ['create', '-q', '-f', format, image, SIZE])
    execFileSync('qemu-io', ['-f', format, '-c', `write -q -P 0xff 0 ${SIZE}`, image])
    const { uri, child } = await qemuNbd(t, image, { format })
    const result = await restored({ repository, manifest, target: uri, readBack: true })
    t.match(result, { target: uri, untouchedTailBytes: 21 * MiB - content.length })
    child.kill('SIGTERM')
    await sleep(200)
    const expected = Buffer.alloc(21 * MiB, 0xff)
    content.copy(expected)
    writeFileSync(join(dir, 'expected'), expected)
    await t.resolves(compareImages([format, image], ['raw', join(dir, 'expected')]))
  }
})

/** What a lost machine gets back: a qcow2 that is written through whoever owns it. */
t.test('a qcow2 through qemu-storage-daemon, fresh and over what it held', async t => {
  const { dir, repository, manifest, content } = await scene(t)
  for (const held of ['nothing', 'noise']) {
    const image = join(dir, `${held}.qcow2`)
    const backing = join(dir, `${held}.backing`)
    execFileSync('qemu-img', ['create', '-q', '-f', 'raw', backing, SIZE])
    if (held === 'noise')
      execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -q -P 5 0 21M', backing])
    // Zeroes must hide what lies below, and not only leave out what is above.
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'raw', image])
    const { uri, child } = await storageDaemon(t, image, { format: 'qcow2' })
    await restored({ repository, manifest, target: uri, readBack: true })
    child.kill('SIGTERM')
    await once(child, 'exit')
    const expected = Buffer.alloc(21 * MiB, held === 'noise' ? 5 : 0)
    content.copy(expected)
    writeFileSync(join(dir, 'expected'), expected)
    await t.resolves(compareImages(['qcow2', image], ['raw', join(dir, 'expected')]), held)
    t.doesNotThrow(() => execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', image]), held)
  }
})

t.test('nbdkit: memory, a file, whole blocks only, no zeroing, no flush but FUA', async t => {
  const { dir, repository, manifest, content } = await scene(t)
  const file = join(dir, 'file')
  writeFileSync(file, Buffer.alloc(21 * MiB, 0xff))
  const blocks = (bytes: string) => [
    ...['--filter=blocksize-policy', 'memory', SIZE, 'blocksize-error-policy=error'],
    ...[`blocksize-minimum=${bytes}`, 'blocksize-preferred=64k', 'blocksize-maximum=256k'],
  ]
  const rows: [string, readonly string[]][] = [
    ['memory', ['memory', SIZE]],
    ['a file', ['file', file]],
    ['blocks of 4 KiB', blocks('4096')],
    ['blocks of 64 KiB', blocks('64k')],
    ['no zeroing', ['--filter=nozero', 'memory', SIZE]],
    ['no structured replies', ['--no-sr', 'memory', SIZE]],
  ]
  for (const [name, args] of rows) {
    for (const serve of name === 'memory' ? [nbdkit, nbdkitOnTcp] : [nbdkit]) {
      const { uri } = await serve(t, args)
      execFileSync('qemu-io', ['-f', 'raw', '-c', `write -q -P 0xff 0 ${SIZE}`, uri])
      await restored({ repository, manifest, target: uri })
      const copy = join(dir, 'copy')
      await copyOf(uri, copy)
      const found = readFileSync(copy)
      t.ok(found.subarray(0, content.length).equals(content), name)
      t.ok(
        found.subarray(content.length).every(byte => byte === 0xff),
        `${name}: the tail is left`,
      )
    }
  }
})

t.test('onto a state that the target holds, only what differs is written', async t => {
  const { dir, volume, repository, manifest } = await scene(t)
  const { uri } = await nbdkit(t, ['memory', SIZE])
  await restored({ repository, manifest, target: uri })
  await changeVolume(volume, { seed: 5, writes: 30 })
  const next = await backedUp({ source: volume, repository, volume: VOLUME })
  const result = await restored({
    repository,
    manifest: idOf(next),
    target: uri,
    onto: manifest,
    readBack: true,
  })
  t.ok(result.bytes.unchanged > result.bytes.written)
  const copy = join(dir, 'copy')
  await copyOf(uri, copy)
  const content = readFileSync(volume)
  t.ok(readFileSync(copy).subarray(0, content.length).equals(content))
})

t.test('what may not be written is refused, before anything is', async t => {
  const { dir, repository, manifest } = await scene(t)
  const readOnly = join(dir, 'read-only')
  writeFileSync(readOnly, Buffer.alloc(21 * MiB, 0xff))
  const rows = [
    { reason: 'read-only', server: await qemuNbd(t, readOnly, { args: ['-r'] }) },
    { reason: 'read-only', server: await nbdkit(t, ['-r', 'memory', SIZE]) },
    { reason: 'too-small', server: await nbdkit(t, ['memory', '20M']) },
    {
      reason: 'not-durable',
      server: await nbdkit(t, ['eval', `get_size=echo ${SIZE}`, 'pread=exit 1', 'pwrite=exit 1']),
    },
  ]
  for (const { reason, server } of rows) {
    await t.rejects(restored({ repository, manifest, target: server.uri }), {
      code: 'TARGET_REFUSED',
      details: { reason },
    })
  }
  const { uri } = await nbdkit(t, ['memory', SIZE])
  await t.rejects(restored({ repository, manifest, target: uri, identity: '0x5000' }), {
    code: 'TARGET_REFUSED',
    details: { reason: 'identity' },
  })
  t.ok(readFileSync(readOnly).every(byte => byte === 0xff))
})

t.test('a write, a zeroing or a flush that fails is a failed restore', async t => {
  const { repository, manifest } = await scene(t)
  const failing = (what: string, error: string) =>
    nbdkit(t, [
      ...['--filter=error', 'memory', SIZE],
      ...[`error-${what}=${error}`, `error-${what}-rate=100%`],
    ])
  const unflushed = ['can_write=exit 0', 'can_flush=exit 0', 'can_zero=exit 0', 'zero=exit 0']
  const methods = [`get_size=echo ${SIZE}`, 'pread=exit 1', 'pwrite=cat >/dev/null']
  const fails = 'flush=echo EIO no power >&2; exit 1'
  const rows = [
    { server: await failing('pwrite', 'EIO'), code: 'TARGET_FAILED', os: 'EIO' },
    { server: await failing('pwrite', 'ENOSPC'), code: 'TARGET_FULL', os: 'ENOSPC' },
    { server: await failing('zero', 'EIO'), code: 'TARGET_FAILED', os: 'EIO' },
    {
      server: await nbdkit(t, ['eval', ...methods, ...unflushed, fails]),
      code: 'TARGET_FAILED',
      os: 'EIO',
    },
  ]
  for (const { server, code, os } of rows) {
    await t.rejects(restored({ repository, manifest, target: server.uri }), {
      code,
      details: { os },
    })
  }
})

t.test('a server that is killed in the middle fails the restore at once', async t => {
  const { repository, manifest } = await scene(t)
  const slow = ['--filter=delay', 'memory', SIZE, 'delay-write=150ms', 'delay-zero=150ms']
  const { uri, child } = await nbdkit(t, slow)
  await using job = restore({ repository, manifest, target: uri })
  const failed = job.result.catch((error: unknown) => error)
  await sleep(400)
  child.kill('SIGKILL')
  const begunMs = performance.now()
  t.match(await failed, { code: 'TARGET_FAILED', retryable: true })
  t.ok(performance.now() - begunMs < 5000, 'nothing waits for what cannot come')
})

t.test('a server that is not there is said to be so', async t => {
  const { repository, manifest } = await scene(t, 512)
  const target = 'nbd+unix:///x?socket=/nowhere'
  await t.rejects(restored({ repository, manifest, target }), {
    code: 'TARGET_UNUSABLE',
    stage: 'open',
    details: { os: 'ENOENT' },
  })
})
