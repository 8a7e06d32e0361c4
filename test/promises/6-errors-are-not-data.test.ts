/**
 * Promise 6: an error is never data. Reads, writes and look-ups fail, below Node and Rust: nothing of
 * it becomes zeroes, a "no" or a committed backup, and the exit code says whose fault it was.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { backup } from '../../src/backup.js'
import type { Repository } from '../../src/repository.js'
import { backedUp, idOf, makeRepository, objectsOf, verified } from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import {
  failedCalls,
  failedOffsets,
  failing,
  noStrace,
  type Fault,
} from '../support/system-calls.js'
import { deviceFolder, growLoop, makeLoop, mountSmall } from '../support/target-devices.js'
import { cmp, contentOf, KiB, makeVolume, MiB, noLoopDevices, write } from '../support/volumes.js'

const EXIT = { source: 4, repository: 5, target: 6 }
const VOLUME_BYTES = 8 * MiB + 512

interface Scene {
  readonly folder: string
  readonly volume: string
  readonly path: string
  readonly repository: Repository
  readonly log: string
}

/** A repository with one backup of a volume, which then changed a little. */
async function scene(t: Test): Promise<Scene & { readonly manifest: string }> {
  const folder = t.testdir()
  const volume = join(folder, 'volume')
  const path = join(folder, 'repository')
  await makeVolume(volume, { bytes: VOLUME_BYTES, seed: 6 })
  const repository = await makeRepository(t, path)
  const manifest = idOf(await backedUp({ source: volume, repository, volume: 'vm' }))
  await write(volume, { offset: 5 * MiB, length: 256 * KiB }, { content: 'noise', seed: 66 })
  return { folder, volume, path, repository, manifest, log: join(folder, 'calls') }
}

/** What of a repository may name or be named: no manifest, no index, nothing half-made. */
function committed(path: string) {
  const kinds = ['manifests', 'index', 'sessions', 'tmp']
  return Object.fromEntries(kinds.map(kind => [kind, objectsOf(path, kind)]))
}

t.test(
  'a source that cannot be read is a failed backup, and its offset is named',
  {
    skip: noStrace,
  },
  async t => {
    const { folder, volume, path, manifest, log } = await scene(t)
    const bits = join(folder, 'bits')
    writeFileSync(bits, Buffer.alloc(17))
    const clean = ['--changes', `bitmap:${bits},granularity=64KiB`, '--parent', manifest]
    const rows: readonly (Pick<Fault, 'call' | 'answer' | 'when'> & {
      readonly args?: readonly string[]
      readonly code: string
      readonly stage?: string
    })[] = [
      { call: 'pread64', answer: 'error=EIO', when: '3+', args: ['--full'], code: 'SOURCE_FAILED' },
      { call: 'pread64', answer: 'error=EIO', when: '3+', code: 'SOURCE_FAILED' },
      { call: 'pread64', answer: 'error=ENXIO', when: '2', code: 'SOURCE_FAILED' },
      { call: 'pread64', answer: 'retval=0', when: '4', code: 'SOURCE_SHORT_READ' },
      { call: 'lseek', answer: 'error=EIO', code: 'SOURCE_FAILED' },
      // All that is read of a volume that is called clean is the audit: a bad sector is no lie.
      { call: 'pread64', answer: 'error=EIO', when: '2+', args: clean, code: 'SOURCE_FAILED' },
    ]
    for (const { args = [], code, ...fault } of rows) {
      const before = committed(path)
      const under = failing({ ...fault, path: volume, log })
      const backup = ['backup', volume, '--volume', 'vm', ...args]
      const { code: exit, error } = await runMoverJson(backup, { repository: path, under })
      const what = `${fault.call} ${fault.answer} ${args.join(' ')}`
      t.match(error, { type: 'error', code }, what)
      t.equal(exit, EXIT.source, what)
      if (fault.call === 'pread64') {
        t.ok(failedOffsets(log).includes(Number(error?.['offset'])), `${what}: the offset is named`)
      }
      t.strictSame(committed(path), before, `${what}: nothing is committed, nothing left`)
    }
  },
)

t.test('a source that moves while it is read is no state of it', async t => {
  const { volume, path, repository } = await scene(t)
  const rows = [
    { does: 'shrinks', code: 'SOURCE_SHORT_READ', move: () => truncate(volume, MiB) },
    { does: 'grows', code: 'SOURCE_CHANGED', move: () => truncate(volume, 16 * MiB) },
    {
      does: 'is written',
      code: 'SOURCE_CHANGED',
      move: () => write(volume, { offset: 0, length: 512 }, { content: 'noise', seed: 1 }),
    },
    {
      does: 'is written, and its time set back',
      code: 'SOURCE_CHANGED',
      async move() {
        await write(volume, { offset: 0, length: 512 }, { content: 'noise', seed: 2 })
        utimesSync(volume, 1, 1)
      },
    },
  ]
  for (const { does, code, move } of rows) {
    await makeVolume(volume, { bytes: VOLUME_BYTES, seed: 6 })
    utimesSync(volume, 1, 1)
    const before = committed(path)
    await using job = backup({
      source: volume,
      repository,
      volume: 'vm',
      full: true,
      // Slow enough to move under it.
      bytesPerSecond: 16 * MiB,
    })
    for await (const event of job.events) {
      if (event.type !== 'stage' || event.stage !== 'read') continue
      await move()
      break
    }
    await t.rejects(job.result, { code }, does)
    t.strictSame(committed(path), before, `${does}: nothing is committed`)
  }
})

t.test(
  'a device that grows while it is read is no state of it',
  { skip: noLoopDevices },
  async t => {
    const folder = deviceFolder(t)
    const path = join(folder, 'repository')
    const repository = await makeRepository(t, path)
    const loop = await makeLoop(t, { folder, bytes: 8 * MiB, fill: 1 })
    const before = committed(path)
    await using job = backup({
      source: loop.device,
      repository,
      volume: 'vm',
      bytesPerSecond: 8 * MiB,
    })
    for await (const event of job.events) {
      if (event.type !== 'stage' || event.stage !== 'read') continue
      await growLoop(loop, 16 * MiB)
      break
    }
    await t.rejects(job.result, { code: 'SOURCE_CHANGED' })
    t.strictSame(committed(path), before, 'nothing is committed')
  },
)

t.test('a repository that cannot be written is no bad source', { skip: noStrace }, async t => {
  const folder = t.testdir()
  const rows: readonly StepsThatFail[] = [
    { call: 'pwrite64', answer: 'error=EIO', code: 'BACKEND_FAILED' },
    { call: 'fdatasync', answer: 'error=EDQUOT', code: 'BACKEND_FULL' },
    { call: 'link', answer: 'error=ENOSPC', code: 'BACKEND_FULL' },
    // The first one is of the source, so it is left out.
    { call: 'fsync', answer: 'error=EIO', code: 'BACKEND_FAILED', first: 2 },
  ]
  await Promise.all(rows.map(row => failEachStep(t, join(folder, row.call), row)))
})

interface StepsThatFail {
  readonly call: string
  readonly answer: string
  readonly code: string
  readonly first?: number
}

/** One after the other, each step of the way to the commit fails, until none is left to. */
async function failEachStep(
  t: Test,
  folder: string,
  { call, answer, code, first = 1 }: StepsThatFail,
): Promise<void> {
  mkdirSync(folder)
  const path = join(folder, 'repository')
  const volume = join(folder, 'volume')
  const log = join(folder, 'calls')
  await makeRepository(t, path)
  for (let step = first; ; step += 1) {
    writeFileSync(volume, contentOf('noise', step, 64 * KiB))
    const before = objectsOf(path, 'manifests')
    const under = failing({ call, answer, when: `${step}`, log })
    // One thread makes all of Node's calls, so that they have an order.
    const options = { repository: path, under, env: { UV_THREADPOOL_SIZE: '1' } }
    const finished = await runMoverJson(['backup', volume, '--volume', 'vm'], options)
    if (failedCalls(log).length === 0) {
      t.equal(finished.code, 0, `without a failing ${call}, the next backup needs no help`)
      t.ok(step > first, `${call} was tried`)
      return
    }
    const what = `${call} ${step} ${answer}`
    t.match(finished.error, { type: 'error', code }, what)
    t.equal(finished.code, EXIT.repository, what)
    t.strictSame(objectsOf(path, 'manifests'), before, `${what}: nothing is committed`)
    const left = [objectsOf(path, 'tmp'), objectsOf(path, 'sessions')]
    t.strictSame(left, [[], []], `${what}: nothing is left`)
  }
}

t.test(
  'a full repository goes on when there is room',
  {
    skip: noLoopDevices,
  },
  async t => {
    const folder = deviceFolder(t)
    const path = join(await mountSmall(t, folder, 4 * MiB), 'repository')
    const volume = join(folder, 'volume')
    writeFileSync(volume, contentOf('noise', 1, 8 * MiB))
    const small = await makeRepository(t, path, { packBytes: MiB })
    const before = committed(path)
    const { code, error } = await runMoverJson(['backup', volume, '--volume', 'vm'], {
      repository: path,
    })
    t.equal(code, EXIT.repository)
    t.match(error, { code: 'BACKEND_FULL', remedy: /./ })
    t.strictSame(committed(path), before)
    truncateSync(volume, 2 * MiB)
    await t.resolves(backedUp({ source: volume, repository: small, volume: 'vm' }))
    await small[Symbol.asyncDispose]()
  },
)

t.test('a repository that cannot be listed is not empty', { skip: noStrace }, async t => {
  const { folder, volume, path, repository, manifest, log } = await scene(t)
  const manifests = join(path, 'manifests', objectsOf(path, 'manifests')[0]?.split('/')[0] ?? '')
  const target = join(folder, 'target')
  const commands = [
    ['backup', volume, '--volume', 'vm'],
    ['backup', volume, '--volume', 'vm', '--full'],
    ['restore', manifest, target],
    ['verify'],
    ['rebuild-index'],
    ['list'],
  ]
  const before = committed(path)
  for (const args of commands) {
    for (const where of [join(path, 'index'), join(path, 'packs'), manifests]) {
      const isNeeded =
        args[0] === 'rebuild-index'
          ? where !== manifests
          : where !== join(path, 'packs') && (args[0] !== 'list' || where === manifests)
      if (!isNeeded) continue
      const what = `${args[0]} with ${where.slice(path.length)} unreadable`
      const under = failing({ call: 'getdents64', answer: 'error=EIO', path: where, log })
      const { code, error } = await runMoverJson(args, { repository: path, under })
      t.equal(code, EXIT.repository, what)
      t.match(error, { code: 'BACKEND_FAILED' }, what)
      t.strictSame(committed(path), before, what)
    }
  }
  const object = join(path, 'manifests', objectsOf(path, 'manifests')[0] ?? '')
  const under = failing({ call: 'openat', answer: 'error=EACCES', path: object, log })
  const { code, error } = await runMoverJson(['list'], { repository: path, under })
  t.equal(code, EXIT.repository, 'nor is what may not be opened left out')
  t.match(error, { code: 'BACKEND_FAILED' })
  t.not(failedCalls(log).length, 0)
  t.notOk(existsSync(target))
  t.strictSame((await verified({ repository })).damage, [])
})

t.test(
  'a pack that cannot be read restores nothing, zeroes least of all',
  {
    skip: noStrace,
  },
  async t => {
    const { folder, path, repository, manifest, log } = await scene(t)
    const packs = await packsByType(repository)
    for (const [type, pack] of Object.entries(packs)) {
      const target = join(folder, `target-${type}`)
      for (const args of [
        ['restore', manifest, target],
        ['cat', manifest],
      ]) {
        for (const call of ['pread64,read', 'openat']) {
          const what = `${args[0]}, ${type} pack, ${call}`
          const under = failing({ call, answer: 'error=EIO', path: pack, log })
          const { code, stdout, stderr } = await runMoverJson(args, { repository: path, under })
          t.not(failedCalls(log).length, 0, `${what}: it was tried`)
          t.equal(code, EXIT.repository, what)
          t.match(stdout + stderr, /"code":"BACKEND_FAILED"/, what)
        }
      }
      t.notOk(existsSync(target), 'a file that is not whole has no name')
    }
    t.strictSame(
      readdirSync(folder).filter(name => name.includes('target')),
      [],
    )
  },
)

t.test(
  'a parent that cannot be read is not a parent without pages',
  {
    skip: noStrace,
  },
  async t => {
    const { folder, volume, path, repository, manifest, log } = await scene(t)
    const { page } = await packsByType(repository)
    const bits = join(folder, 'bits')
    writeFileSync(bits, Buffer.alloc(17, 0x10))
    const before = committed(path)
    const args = ['backup', volume, '--volume', 'vm', '--parent', manifest]
    const changes = ['--changes', `bitmap:${bits},granularity=64KiB`]
    const under = failing({ call: 'pread64,read', answer: 'error=EIO', path: page, log })
    const { code, error } = await runMoverJson([...args, ...changes], { repository: path, under })
    t.equal(code, EXIT.repository)
    t.match(error, { code: 'BACKEND_FAILED' })
    t.strictSame(committed(path), before)
  },
)

t.test('a target that fails is said to be the target', { skip: noStrace }, async t => {
  const { folder, volume, path, manifest, log } = await scene(t)
  const target = join(folder, 'target')
  await makeVolume(target, { bytes: VOLUME_BYTES, seed: 7 })
  const restore = ['restore', manifest, target, '--force=exists']
  const rows = [
    { call: 'pwrite64', answer: 'error=EIO', args: restore, code: 'TARGET_FAILED' },
    { call: 'pwrite64', answer: 'error=ENOSPC', args: restore, code: 'TARGET_FULL' },
    { call: 'ftruncate', answer: 'error=EIO', args: restore, code: 'TARGET_FAILED' },
    { call: 'fsync', answer: 'error=EIO', args: restore, code: 'TARGET_FAILED' },
    { call: 'fsync', answer: 'error=ENOSPC', args: restore, code: 'TARGET_FULL' },
    {
      call: 'fsync',
      answer: 'error=EIO',
      args: [...restore, '--read-back'],
      code: 'TARGET_FAILED',
    },
    {
      call: 'pread64',
      answer: 'error=EIO',
      args: [...restore, '--onto=auto'],
      code: 'TARGET_FAILED',
    },
    {
      call: 'pread64',
      answer: 'retval=0',
      args: [...restore, '--onto=auto'],
      code: 'TARGET_FAILED',
    },
    {
      call: 'pread64',
      answer: 'error=EIO',
      args: [...restore, '--read-back'],
      code: 'TARGET_FAILED',
    },
  ]
  for (const { args, code, ...fault } of rows) {
    const when = fault.call === 'pread64' ? { when: '2+' } : {}
    const under = failing({ ...fault, ...when, path: target, log })
    const { code: exit, error, result } = await runMoverJson(args, { repository: path, under })
    const what = `${args.slice(3).join(' ')}: ${fault.call} ${fault.answer}`
    t.not(failedCalls(log).length, 0, `${what} was tried`)
    t.match(error, { code }, what)
    t.equal(exit, EXIT.target, what)
    t.equal(result, null, what)
  }
  t.equal((await runMoverJson(restore, { repository: path })).code, 0, 'the same again is right')
  t.not(await cmp(volume, target), '')
  t.equal((await runMoverJson(['restore', manifest, `${target}2`], { repository: path })).code, 0)
  t.equal(await cmp(target, `${target}2`), '')
})

/** A pack of chunks and a pack of tree pages; the scene has one of each. */
async function packsByType(repository: Repository): Promise<{ data: string; page: string }> {
  const found: Record<string, string> = {}
  for (const name of objectsOf(repository.path, 'packs')) {
    const path = join(repository.path, 'packs', name)
    await using file = await open(path, 'r')
    const { buffer } = await file.read(Buffer.alloc(16), 0, 16, 0)
    found[buffer[10] === 1 ? 'page' : 'data'] = path
  }
  const { data = '', page = '' } = found
  return { data, page }
}
