/**
 * Promise 1. A backup exists when its manifest is durable, and not before: packs, then index, then
 * manifest, each durable before anything names it. What a kill leaves is in ../crash/.
 */
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backup } from '../../src/backup.js'
import { MoverError } from '../../src/core/errors.js'
import { SEGMENTS_PER_TIER } from '../../src/plan/segment-merge-plan.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { DURABILITY_CALLS, tracePower } from '../support/power-cut.js'
import {
  backedUp,
  idOf,
  inventory,
  makeRepository,
  objectsOf,
  verified,
} from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import { descriptorPath, readTrace, straceOf } from '../support/strace.js'
import { bitmapOfWrites, changeVolume, makeVolume, MiB } from '../support/volumes.js'

t.test('packs, the index, the manifest, the word: each durable before the next', async t => {
  const dir = realpathSync(t.testdir({}))
  const [source, path, trace] = [join(dir, 'volume'), join(dir, 'repo'), join(dir, 'trace')]
  const repository = await makeRepository(t, path, { packBytes: MiB })
  await makeVolume(source, { bytes: 12 * MiB, seed: 1 })
  const rows = [
    { run: 'a full backup', kinds: /^packs( packs){2,} index manifests$/, removed: 0 },
    { run: 'a rescan', kinds: /^packs( packs){2,} index manifests$/, removed: 0 },
    {
      run: 'one that merges the index',
      kinds: /^packs( packs){2,} index index manifests$/,
      removed: SEGMENTS_PER_TIER,
    },
  ]
  for (const [seed, { run, kinds, removed }] of rows.entries()) {
    t.test(run, async t => {
      if (removed > 0) {
        for (let segments = seed; segments < removed - 1; segments += 1) {
          await changeVolume(source, { seed: 10 + segments, writes: 60 })
          await backedUp({ source, repository, volume: 'v' })
        }
      }
      if (seed > 0) await changeVolume(source, { seed, writes: 60 })
      const under = straceOf(trace, DURABILITY_CALLS)
      const { code } = await runMoverJson(['backup', source, '--volume', 'v'], {
        repository: path,
        under,
      })
      t.equal(code, 0)

      const traced = tracePower(await readTrace(trace), path)
      const { linkings, unlinkings, lostAtResult, renamed } = traced
      t.match(linkings.map(({ name }) => name.split('/')[0]).join(' '), kinds)
      const unwritten = linkings.filter(({ isWritten }) => !isWritten)
      t.strictSame(unwritten, [], 'whatever gets its name has all its bytes on the disk')
      const naming = linkings.filter(({ name }) => !name.startsWith('packs/'))
      for (const { name, lost } of naming) t.strictSame(lost, [], `what ${name} names lasts`)
      t.equal(unlinkings.length, removed, 'a merge removes what it has replaced, nothing else does')
      for (const { name, lost } of unlinkings) t.strictSame(lost, [], `what replaces ${name} lasts`)
      const replacing = linkings.findLastIndex(({ name }) => name.startsWith('index/'))
      t.ok(
        unlinkings.every(({ linked }) => linked > replacing),
        'nothing is removed before what replaces it has its name',
      )
      t.strictSame(lostAtResult, [], 'who reads the result has a backup that lasts')
      t.strictSame(renamed, [], 'nothing is ever written over')
    })
  }
})

/** It synced only its manifest: a power cut could take the segment that it had found all chunks in. */
t.test('what a segment of another session finds lasts before a manifest names it', async t => {
  const dir = realpathSync(t.testdir({}))
  const [source, path, trace] = [join(dir, 'volume'), join(dir, 'repo'), join(dir, 'trace')]
  const repository = await makeRepository(t, path, { packBytes: MiB })
  await makeVolume(source, { bytes: 4 * MiB, seed: 5 })
  await backedUp({ source, repository, volume: 'v' })

  const under = straceOf(trace, DURABILITY_CALLS)
  const words = ['backup', source, '--volume', 'another']
  t.equal((await runMoverJson(words, { repository: path, under })).code, 0)
  const calls = (await readTrace(trace)).filter(({ answer }) => answer === 0)
  const linked = calls.filter(({ name, args }) => /^link/.test(name) && args.includes(path))
  const [manifest] = linked.filter(({ args }) => args.includes(`${path}/manifests/`))
  if (manifest === undefined) throw new Error('no manifest was linked')
  const kinds = linked.map(({ args }) => /repo\/(index|packs|manifests)\//.exec(args)?.[1])
  t.strictSame(
    kinds.filter(kind => kind !== undefined),
    ['manifests'],
    'it stored nothing',
  )
  const settled = calls.filter(
    call => /sync$/.test(call.name) && descriptorPath(call) === `${path}/index`,
  )
  t.ok(
    settled.some(({ ended }) => ended < manifest.began),
    'the folder of the index is synced first',
  )
})

t.test('a job that is cancelled has happened, or it has not', async t => {
  const dir = t.testdir({})
  const source = join(dir, 'volume')
  await makeVolume(source, { bytes: 8 * MiB, seed: 3 })
  const repository = await makeRepository(t, join(dir, 'repo'), { packBytes: MiB })
  const parent = idOf(await backedUp({ source, repository, volume: 'v' }))
  const writes = await changeVolume(source, { seed: 4, writes: 50 })
  const geometry = { granularityBytes: 65_536, volumeBytes: 8 * MiB }
  const bits = bitmapOfWrites(writes, geometry)

  for (const stage of ['plan', 'read', 'audit', 'commit']) {
    t.test(`at the stage ${stage}`, async t => {
      const before = inventory(repository.path)
      const ids = (await repository.manifests('v')).map(({ id }) => id)
      const changes = bitmapChanges({ bits, ...geometry })
      await using job = backup({ source, repository, volume: 'v', changes, parent })
      const ended = job.result.then(idOf, (error: unknown) => error)
      for await (const event of job.events) {
        if (event.type === 'stage' && event.stage === stage) job.cancel('the test says so')
      }
      const end = await ended
      const after = (await repository.manifests('v')).map(({ id }) => id)
      if (typeof end === 'string') {
        t.strictSame(after, [...ids, end], 'the cancellation came too late')
      } else {
        t.match(end, { code: 'CANCELLED' })
        t.ok(end instanceof MoverError)
        t.strictSame(after, ids)
        if (stage !== 'commit') t.strictSame(inventory(repository.path), before)
      }
      for (const kind of ['tmp', 'sessions']) t.strictSame(objectsOf(repository.path, kind), [])
      t.strictSame((await verified({ repository })).damage, [])
    })
  }
})
