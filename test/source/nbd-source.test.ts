import { execFileSync } from 'node:child_process'
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { backup } from '../../src/backup.js'
import { MoverError } from '../../src/core/errors.js'
import { readManifests } from '../../src/manifest/manifest-catalog.js'
import type { Repository } from '../../src/repository.js'
import { openSource } from '../../src/source/open-source.js'
import { gather } from '../support/gather.js'
import { nbdkit, nbdkitOnTcp, qemuNbd, socketPath, uriOf } from '../support/nbd-servers.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { cmp, contentOf, makeVolume, MiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

/** Backs up what a server serves and checks that what comes out again is `expected`. */
async function backsUp(
  t: Test,
  repository: Repository,
  { uri, expected }: { readonly uri: string; readonly expected: string },
): Promise<void> {
  const result = await backedUp({ source: uri, repository, volume: VOLUME, full: true })
  const target = join(t.testdirName, 'restored')
  rmSync(target, { force: true })
  await restored({ repository, manifest: idOf(result), target })
  t.equal(result.bytes.volume, statSync(expected).size)
  t.equal(await cmp(target, expected), '', 'what was served is what comes out again')
}

async function scene(t: Test, bytes = 40 * MiB + 512) {
  const dir = t.testdir({})
  const volume = join(dir, 'volume')
  await makeVolume(volume, { bytes, seed: 1 })
  return { dir, volume, repository: await makeRepository(t, join(dir, 'repo')) }
}

t.test('a raw volume through qemu-nbd, on one connection and on several', async t => {
  const { volume, repository } = await scene(t)
  for (const args of [['-r'], ['-r', '-e', '1'], ['-r', '-e', '8']]) {
    const { uri } = await qemuNbd(t, volume, { args })
    await backsUp(t, repository, { uri, expected: volume })
  }
})

/** It says that it allows several connections, and lets all but the first two wait for ever. */
t.test('a server with fewer connections than it says is used through those', async t => {
  const { volume, repository } = await scene(t, 3 * MiB)
  const { uri } = await qemuNbd(t, volume, { args: ['-r', '-e', '2'] })
  await backsUp(t, repository, { uri, expected: volume })
})

t.test('a qcow2 volume through qemu-nbd, its holes not read', async t => {
  const { dir, volume, repository } = await scene(t)
  const qcow2 = join(dir, 'volume.qcow2')
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', volume, qcow2])
  const { uri } = await qemuNbd(t, qcow2, { format: 'qcow2', args: ['-r'] })
  await backsUp(t, repository, { uri, expected: volume })
  const read = await backedUp({ source: uri, repository, volume: VOLUME })
  t.ok(read.bytes.read < read.bytes.volume, `${read.bytes.read} bytes were read`)
  const all = await backedUp({ source: uri, repository, volume: VOLUME, readHoles: true })
  t.equal(all.bytes.read, all.bytes.volume)
  t.equal(all.root, read.root)
})

t.test('volumes of any size, over TCP and a socket', async t => {
  const { dir, repository } = await scene(t, 512)
  for (const bytes of [0, 1, 511, 65_537, 3 * MiB + 7]) {
    const volume = join(dir, `volume-${bytes}`)
    await makeVolume(volume, { bytes, seed: bytes })
    for (const serve of [nbdkit, nbdkitOnTcp]) {
      const { uri } = await serve(t, ['-r', 'file', volume])
      await backsUp(t, repository, { uri, expected: volume })
    }
  }
})

t.test('a server that takes whole blocks only, and no long ones', async t => {
  const { dir } = await scene(t, 512)
  const volume = join(dir, 'blocks')
  await makeVolume(volume, { bytes: 5 * MiB, seed: 2 })
  const repository = await makeRepository(t, join(dir, 'repo-16k'), { chunkBytes: 16 * 1024 })
  for (const [minimum, maximum] of [
    ['4096', '64k'],
    ['64k', '1M'],
  ]) {
    const sizes = [`blocksize-minimum=${minimum}`, `blocksize-maximum=${maximum}`]
    const policy = ['blocksize-error-policy=error', 'blocksize-preferred=64k', ...sizes]
    const args = ['-r', '--filter=blocksize-policy', 'file', volume, ...policy]
    const { uri } = await nbdkit(t, args)
    await backsUp(t, repository, { uri, expected: volume })
  }
})

t.test('a server without structured replies tells no holes, and all is read', async t => {
  const { volume, repository } = await scene(t, 2 * MiB)
  const { uri } = await nbdkit(t, ['-r', '--no-sr', 'file', volume])
  await using source = await openSource(uri)
  t.equal(source.allocated([]), null)
  await backsUp(t, repository, { uri, expected: volume })
})

t.test('only what reads as zero is a hole', async t => {
  const dir = t.testdir({})
  const volume = join(dir, 'volume')
  writeFileSync(volume, contentOf('noise', 1, 4 * MiB))
  // Type 1 is a hole whose bytes are undefined, 2 allocated zeroes, 3 both.
  const stated = 'echo 0 1M 0; echo 1M 1M 1; echo 2M 1M 2; echo 3M 1M 3'
  const { uri } = await nbdkit(t, [
    ...[
      '-r',
      'eval',
      'get_size=echo 4M',
      `pread=dd if=${volume} skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none`,
    ],
    ...['can_extents=exit 0', `extents=${stated}`],
  ])
  await using source = await openSource(uri)
  const extents = source.allocated([])
  t.ok(extents)
  const said = extents === null ? [] : await gather(extents)
  t.strictSame(
    said.map(({ offset, length, state }) => [offset / MiB, length / MiB, state]),
    [
      [0, 2, 'data'],
      [2, 2, 'zero'],
    ],
  )
})

/** Virtnbdbackup and others took an error for zeroes. */
t.test('an error of the server fails the run, with its place, and commits nothing', async t => {
  const { dir, volume, repository } = await scene(t)
  const faulty = ['-r', '--filter=error', 'file', volume, 'error-pread=EIO']
  const armed = join(dir, 'armed')
  const { uri } = await nbdkit(t, [...faulty, 'error-pread-rate=100%', `error-file=${armed}`])
  await using source = await openSource(uri)
  writeFileSync(armed, '')
  const failed = backedUp({ source, repository, volume: VOLUME })
  await t.rejects(failed, { code: 'SOURCE_FAILED', stage: 'read', details: { os: 'EIO' } })
  const error = await failed.catch((error: unknown) => error as MoverError)
  t.ok(error instanceof MoverError && error.offset !== null, 'it names a place')
  t.strictSame((await readManifests(repository, VOLUME)).manifests, [])
  rmSync(armed)
  const result = await backedUp({ source, repository, volume: VOLUME })
  t.equal(result.mode, 'full', 'the same connection serves again')
})

t.test('a server that is killed in the middle fails the run at once', async t => {
  const { volume, repository } = await scene(t)
  const slow = ['-r', '--filter=delay', 'file', volume, 'delay-read=150ms']
  const { uri, child } = await nbdkit(t, slow)
  await using job = backup({ source: uri, repository, volume: VOLUME, readHoles: true })
  const failed = job.result.catch((error: unknown) => error)
  await sleep(400)
  child.kill('SIGKILL')
  const begunMs = performance.now()
  const error = await failed
  t.ok(error instanceof MoverError)
  t.match(error, { code: 'SOURCE_FAILED', stage: 'read', retryable: true })
  t.ok(performance.now() - begunMs < 5000, 'nothing waits for what cannot come')
  t.strictSame((await readManifests(repository, VOLUME)).manifests, [])
})

t.test('a backup that waits for a silent server is cancelled at once', async t => {
  const { volume, repository } = await scene(t)
  const slow = ['-r', '--filter=delay', 'file', volume, 'delay-read=20']
  const { uri } = await nbdkit(t, slow)
  await using job = backup({ source: uri, repository, volume: VOLUME, readHoles: true })
  const failed = job.result.catch((error: unknown) => error)
  await sleep(500)
  const begunMs = performance.now()
  job.cancel()
  t.match(await failed, { code: 'CANCELLED' })
  t.ok(performance.now() - begunMs < 1000, 'it does not wait for the server')
})

t.test('a server that is not there, or lacks the export, is said to be so', async t => {
  const { volume } = await scene(t, 512)
  const socket = socketPath(t)
  await t.rejects(openSource(uriOf(socket)), { code: 'SOURCE_UNUSABLE', details: { os: 'ENOENT' } })
  await t.rejects(openSource('nbd://127.0.0.1:1/x'), {
    code: 'SOURCE_UNUSABLE',
    details: { os: 'ECONNREFUSED' },
  })
  const { uri } = await qemuNbd(t, volume, { args: ['-r'] })
  await t.rejects(openSource(uri.replace('vm%2042%2Fsda', 'other')), {
    code: 'SOURCE_UNUSABLE',
    message: /does not have the export 'other'/,
  })
  await t.rejects(openSource('nbd+vsock://2:1/x'), { code: 'ARGUMENT_INVALID' })
})
