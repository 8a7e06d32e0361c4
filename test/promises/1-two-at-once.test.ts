/**
 * Promise 1, of several: backups into one repository at once, in one process or in many, of one
 * volume or of several, while others read. Nobody waits for anybody, and nobody spoils anything.
 */
import { copyFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Backend } from '../../src/backend/backend.js'
import { cat } from '../../src/cat.js'
import { diff } from '../../src/diff.js'
import { mapManifest } from '../../src/map-manifest.js'
import { openRepository, type Repository } from '../../src/repository.js'
import { bitmapChanges, extentChanges } from '../../src/source/change-source.js'
import { gather } from '../support/gather.js'
import {
  backedUp,
  idOf,
  makeRepository,
  objectsOf,
  reopen,
  restored,
  verified,
} from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import { bitmapOfWrites, changeVolume, cmp, KiB, makeVolume, MiB } from '../support/volumes.js'

/** Volume files by the id of the manifest that must restore to them. */
type Expected = Map<string, string>

async function checkAll(t: Test, repository: Repository, expected: Expected): Promise<void> {
  t.strictSame((await verified({ repository })).damage, [])
  t.strictSame((await verified({ repository, independent: true })).damage, [])
  for (const [manifest, volume] of expected) {
    const target = join(repository.path, '..', `restored-${manifest}`)
    await restored({ repository, manifest, target })
    t.equal(await cmp(volume, target), '')
  }
  for (const kind of ['tmp', 'sessions']) t.strictSame(objectsOf(repository.path, kind), [])
}

t.test('two processes, of two volumes that share bytes, and of one', async t => {
  const dir = t.testdir({})
  const repository = await makeRepository(t, join(dir, 'repo'), { packBytes: MiB })
  const [a, b] = [join(dir, 'a'), join(dir, 'b')]
  await makeVolume(a, { bytes: 6 * MiB, seed: 1 })
  copyFileSync(a, b)
  await changeVolume(b, { seed: 2, writes: 20 })
  const expected: Expected = new Map()
  const run = async (source: string, volume: string) => {
    const args = ['backup', source, '--volume', volume]
    const { code, result } = await runMoverJson(args, { repository: repository.path })
    t.equal(code, 0)
    expected.set(String(result?.manifest), source)
  }
  await Promise.all([run(a, 'a'), run(b, 'b')])
  await Promise.all([run(a, 'one'), run(b, 'one'), run(a, 'one')])
  t.equal(expected.size, 5)
  await checkAll(t, repository, expected)

  // The next one has seen all of those beside each other, so that none can vanish unseen.
  const before = await repository.manifests('one')
  const next = await repository.resolve(
    idOf(await backedUp({ source: a, repository, volume: 'one' })),
  )
  const named = new Set([...next.previous, ...before.flatMap(({ previous }) => previous)])
  t.strictSame(named, new Set(before.map(({ id }) => id)))
  t.ok(before.every(({ sequence }) => sequence < next.sequence))
})

t.test('two incrementals on one parent, one of them killed', async t => {
  const dir = t.testdir({})
  const volumeBytes = 4 * MiB
  const repository = await makeRepository(t, join(dir, 'repo'), { packBytes: MiB })
  const source = join(dir, 'volume')
  await makeVolume(source, { bytes: volumeBytes, seed: 3 })
  const parent = idOf(await backedUp({ source, repository, volume: 'v' }))
  const writes = await changeVolume(source, { seed: 4, writes: 20 })
  const geometry = { granularityBytes: 64 * KiB, volumeBytes }
  const bits = bitmapOfWrites(writes, geometry)
  const incremental = async (repository: Repository) =>
    idOf(
      await backedUp({
        source,
        repository,
        volume: 'v',
        changes: bitmapChanges({ bits, ...geometry }),
        parent,
      }),
    )
  const [first, second] = await Promise.all([
    incremental(repository),
    incremental(await reopen(t, repository.path)),
    runMoverJson(['backup', source, '--volume', 'v'], {
      repository: repository.path,
      killAfterMs: 250,
    }),
  ])
  // Whoever comes next sweeps up after the dead.
  const third = await incremental(repository)
  await checkAll(t, repository, new Map([first, second, third].map(id => [id, source])))
})

t.test('whoever begins sweeps up after the dead, and not after the living', async t => {
  const dir = t.testdir({})
  const [path, source] = [join(dir, 'repo'), join(dir, 'volume')]
  const repository = await makeRepository(t, path)
  await makeVolume(source, { bytes: MiB, seed: 5 })
  await using session = await repository.beginSession('write', null)
  writeFileSync(`${session.tempPrefix}pack`, 'half a pack')
  const living = [objectsOf(path, 'sessions'), objectsOf(path, 'tmp')]
  // Another process: of its own, a session would know that it lives.
  const args = ['backup', source, '--volume', 'v']
  t.equal((await runMoverJson(args, { repository: path })).code, 0)
  t.strictSame([objectsOf(path, 'sessions'), objectsOf(path, 'tmp')], living)
})

t.test('jobs in one process: of one repository, and of another', async t => {
  const dir = t.testdir({})
  const repository = await makeRepository(t, join(dir, 'repo'))
  const other = await makeRepository(t, join(dir, 'other'), { chunkBytes: 16 * KiB, codec: 'zstd' })
  const [a, b] = [join(dir, 'a'), join(dir, 'b')]
  await makeVolume(a, { bytes: 5 * MiB + 100, seed: 5 })
  await makeVolume(b, { bytes: 3 * MiB, seed: 6 })
  const run = async (source: string, volume: string, repository: Repository, workers?: number) => {
    const budgets = workers === undefined ? {} : { workers }
    const result = await backedUp({ source, repository, volume, ...budgets })
    return [idOf(result), source] as const
  }
  const ofFirst = [run(a, 'a', repository), run(b, 'b', repository, 2), run(a, 'a', repository)]
  const ofOther = [run(a, 'a', other, 1), run(b, 'b', other)]
  await checkAll(t, repository, new Map(await Promise.all(ofFirst)))
  await checkAll(t, other, new Map(await Promise.all(ofOther)))
})

const WRITERS = 3
const BACKUPS = 9

t.test('many small backups, which merge the index under each other, and a reader', async t => {
  const dir = t.testdir({})
  const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: 16 * KiB })
  const expected: Expected = new Map()
  const failures: unknown[] = []
  let writing = WRITERS
  const writer = async (number: number): Promise<void> => {
    await using mine = await openRepository(repository.path)
    const source = join(dir, `volume-${number}`)
    await makeVolume(source, { bytes: MiB, seed: 10 * number })
    for (let run = 0; run < BACKUPS; run += 1) {
      await changeVolume(source, { seed: 100 * number + run, writes: 8 })
      const id = idOf(await backedUp({ source, repository: mine, volume: `v${number}` }))
      const kept = join(dir, `kept-${id}`)
      copyFileSync(source, kept)
      expected.set(id, kept)
    }
  }
  const reader = async (): Promise<number> => {
    let rounds = 0
    for (; writing > 0; rounds += 1) {
      await using mine = await openRepository(repository.path)
      const { damage } = await verified({ repository: mine })
      if (damage.length > 0) failures.push(damage)
      const [newest] = (await mine.manifests()).slice(-1)
      if (newest === undefined) continue
      const target = join(dir, 'read')
      const { manifest } = await restored({
        repository: mine,
        manifest: `${newest.volume}@latest`,
        target,
        force: ['exists'],
      })
      const kept = expected.get(manifest)
      if (kept !== undefined) t.equal(await cmp(kept, target), '')
    }
    return rounds
  }
  const writers = Array.from({ length: WRITERS }, async (_, number) => {
    try {
      await writer(number + 1)
    } finally {
      writing -= 1
    }
  })
  const [rounds] = await Promise.all([reader(), ...writers])
  t.strictSame(failures, [], `${rounds} rounds of reading`)
  t.equal(expected.size, WRITERS * BACKUPS)
  t.ok(objectsOf(repository.path, 'index').length < WRITERS * BACKUPS, 'segments were merged')
  await checkAll(t, repository, expected)
})

/*
 * A backup that commits just as somebody looks for the newest manifest: its pages are in an index
 * segment that who had listed the index before would not know of, and would call missing.
 */
t.test('who finds a manifest finds its chunks', async t => {
  const dir = t.testdir({})
  const [source, other, target] = [join(dir, 'v'), join(dir, 'other'), join(dir, 'restored')]
  await makeVolume(source, { bytes: MiB, seed: 7 })
  copyFileSync(source, other)
  copyFileSync(source, target)
  const path = join(dir, 'repo')
  const writer = await makeRepository(t, path)
  let seed = 8
  const commit = async () => {
    seed += 1
    await changeVolume(source, { seed, writes: 5 })
    await backedUp({ source, repository: writer, volume: 'v', checkpoint: 'newest' })
  }
  await commit()
  await commit()
  const [manifest, force] = ['v@latest', ['exists']] as const
  const rows: Record<string, (repository: Repository) => Promise<unknown>> = {
    backup: repository => {
      const changes = extentChanges({ extents: [], since: 'newest' })
      return backedUp({ source: other, repository, volume: 'v', changes, audit: 'off' })
    },
    restore: repository => restored({ repository, manifest, target, force }),
    'restore onto a state': repository =>
      restored({ repository, manifest: 'v@latest~1', target, force, onto: manifest }),
    cat: async repository => {
      await using output = await open('/dev/null', 'w')
      await using job = cat({ repository, manifest, output: output.fd })
      await job.result
    },
    diff: repository => gather(diff({ repository, from: 'v@latest~1', to: manifest })),
    map: repository => gather(mapManifest({ repository, manifest })),
    verify: async repository => {
      const { damage } = await verified({ repository })
      if (damage.length > 0) throw new Error(damage[0]?.message)
    },
  }
  for (const [name, act] of Object.entries(rows)) {
    t.test(name, async t => {
      await t.resolves(act(overtaken(await reopen(t, path), commit)))
    })
  }
})

/** The repository as seen by somebody to whom this happens just before each look at its manifests. */
function overtaken(inner: Repository, happens: () => Promise<void>): Repository {
  const list: Backend['list'] = async function* (prefix, options) {
    if (prefix.startsWith('manifests/')) await happens()
    yield* inner.backend.list(prefix, options)
  }
  const backend = new Proxy(inner.backend, {
    get(whole, name) {
      const value: unknown = name === 'list' ? list : Reflect.get(whole, name)
      return typeof value === 'function' ? (value.bind(whole) as unknown) : value
    },
  })
  return {
    ...inner,
    backend,
    async manifests(...args) {
      await happens()
      return inner.manifests(...args)
    },
    async resolve(...args) {
      await happens()
      return inner.resolve(...args)
    },
  }
}
