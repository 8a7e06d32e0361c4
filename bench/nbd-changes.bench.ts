import { closeSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { peakMemory } from './harness/peak-memory.js'
import { ratioOf, runRounds, spreadOf } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { readByNbdcopy, serveImage, serveMap } from './peers/nbd-server.js'
import { writeGranules } from './volumes/changed-volume.js'
import { scatteredGranules, sparseVolume, writeBitmap } from './volumes/sparse-volume.js'

const GIB = 2 ** 30
const CHANGED_GRANULES = 16_384
const SPARSE_BYTES = 64 * GIB
const MAPPED_BYTES = 6 * 1024 * GIB
const MAPPED_EXTENTS = 1_000_000

/** What has changed, over NBD: an incremental, and the map of a large disk. */
export const nbdChangesPart: Part = {
  name: 'nbd-changes',
  about: 'over NBD: 1 GiB changed in 64 KiB pieces over 64 GiB; a map of 1 million extents',
  async run(bench) {
    await incremental(bench)
    await map(bench)
  },
}

/** The volume has nothing but what changes, so that nbdcopy, which skips holes, reads just these bytes. */
async function incremental(bench: Bench): Promise<void> {
  const volume = join(bench.scratch, 'sparse-nbd.img')
  const bitmap = join(bench.scratch, 'sparse-nbd.bitmap')
  const repository = join(bench.scratch, 'repository-nbd')
  const granules = scatteredGranules(SPARSE_BYTES, CHANGED_GRANULES, 1)
  rmSync(volume, { force: true })
  sparseVolume(volume, SPARSE_BYTES, { granules, seed: 1 })
  writeBitmap(bitmap, SPARSE_BYTES, granules)
  await initRepository(repository)
  await using server = await serveImage(volume, {
    format: 'raw',
    socket: join(bench.scratch, 'nbd'),
  })
  await runCommand(backupCommand(repository, server.uri, '--checkpoint', 'one'))
  let seed = 1
  const changes = ['--changes', `bitmap:${bitmap},granularity=64KiB,since=one`]
  const rounds = await runRounds(
    {
      mover: {
        command: backupCommand(repository, server.uri, ...changes),
        // Other bytes each time, or the second turn would find all of them known.
        prepare() {
          const file = openSync(volume, 'r+')
          writeGranules(file, { granules, seed: (seed += 1) })
          closeSync(file)
        },
      },
      'nbdcopy, null': { command: readByNbdcopy(server.uri) },
    },
    { count: bench.rounds, say: bench.say },
  )
  for (const path of [repository, volume, bitmap]) rmSync(path, { recursive: true, force: true })
  bench.report({
    what: 'incremental over NBD, 1 GiB over 64 GiB: time against nbdcopy of just these bytes',
    value: ratioOf(rounds, r => r.mover / r['nbdcopy, null']),
    unit: 'x',
    bound: { most: 1.5 },
    timed: rounds.timed,
    notes: ['the map from a file; the audit included'],
  })
}

/** A dry run reads the map and plans by it; the bytes would come from the device beside it. */
async function map(bench: Bench): Promise<void> {
  const volume = join(bench.scratch, 'mapped.img')
  const repository = join(bench.scratch, 'repository-nbd')
  writeFileSync(volume, '')
  truncateSync(volume, MAPPED_BYTES)
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume, '--checkpoint', 'one'))
  const socket = (headers: string) => join(bench.scratch, `map-${headers}`)
  const size = { volumeBytes: MAPPED_BYTES, extents: MAPPED_EXTENTS }
  await using extended = await serveMap(socket('64'), { ...size, headers: 'extended' })
  await using structured = await serveMap(socket('32'), { ...size, headers: 'structured' })
  const planBy = ({ uri }: { readonly uri: string }) =>
    backupCommand(repository, volume, '--dry-run', '--changes', `${uri},bitmap=map,since=one`)
  const rounds = await runRounds(
    {
      extended: { command: planBy(extended), cold: false },
      structured: { command: planBy(structured), cold: false },
    },
    { count: bench.rounds, say: bench.say },
  )
  const peak = await peakMemory(planBy(extended))
  for (const path of [repository, volume]) rmSync(path, { recursive: true, force: true })
  const common = { timed: rounds.timed, notes: ['the server is of the benchmark, in JavaScript'] }
  const what = 'map of 6 TiB with 1 million dirty extents, read and planned'
  bench.report({
    ...common,
    what: `${what}, extended headers`,
    value: ratioOf(rounds, r => r.extended),
    unit: 's',
    bound: { most: 2 },
  })
  bench.report({
    ...common,
    what: `${what}, without them`,
    value: ratioOf(rounds, r => r.structured),
    unit: 's',
    bound: null,
  })
  bench.report({
    ...common,
    what: `${what}: peak of RssAnon + RssShmem`,
    value: spreadOf([peak / 2 ** 20]),
    unit: 'MiB',
    bound: { most: 100 },
  })
}
