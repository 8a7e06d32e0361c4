import { closeSync, openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { folderBytes } from './harness/folder-bytes.js'
import { limits, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { writeGranules } from './volumes/changed-volume.js'
import { mountXfs, scatteredGranules, sparseVolume, writeBitmap } from './volumes/sparse-volume.js'

const TIB = 2 ** 40
const CHANGED_GRANULES = 16_384

/** What an incremental costs over reading what has changed. */
export const incrementalPart: Part = {
  name: 'incremental',
  about: '1 GiB changed in 64 KiB pieces scattered over 256 GiB and over 4 TiB, audit included',
  run,
}

async function run(bench: Bench): Promise<void> {
  using xfs = mountXfs(bench.scratch)
  const small = await prepare(bench, { folder: xfs.folder, name: 'small', volumeBytes: TIB / 4 })
  const large = await prepare(bench, { folder: xfs.folder, name: 'large', volumeBytes: 4 * TIB })
  const changed = ['--bitmap', small.bitmap, '--granularity', '65536', '--codec', 'lz4']
  const rounds = await runRounds(
    {
      'mover, 256 GiB': small.backup,
      'mover, 4 TiB': large.backup,
      'limit: read, hash, compress': {
        command: limits('scattered', small.volume, ...changed),
        seconds: ownSeconds,
      },
      'limit: the same, and the disk writes': {
        command: limits(
          ...['scattered', small.volume, bench.scratch, ...changed],
          ...['--write-bytes', String(small.addedBytes)],
        ),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  for (const { repository } of [small, large]) rmSync(repository, { recursive: true, force: true })
  const common = { unit: 'x', timed: rounds.timed, notes: ['XFS in a loop device'] }
  bench.report({
    ...common,
    what: 'incremental, 1 GiB over 256 GiB: time against only reading, hashing, compressing it',
    value: ratioOf(rounds, r => r['mover, 256 GiB'] / r['limit: read, hash, compress']),
    bound: { most: 1.4 },
  })
  bench.report({
    ...common,
    what: 'the same against that while the disk writes what the backup adds',
    value: ratioOf(rounds, r => r['mover, 256 GiB'] / r['limit: the same, and the disk writes']),
    bound: null,
  })
  bench.report({
    ...common,
    what: 'the same change on 4 TiB: time against that on 256 GiB',
    value: ratioOf(rounds, r => r['mover, 4 TiB'] / r['mover, 256 GiB']),
    bound: { most: 1.15 },
  })
}

/** A volume with data, backed up; then changed; and its backup by bitmap, which can be made again. */
async function prepare(
  bench: Bench,
  options: { readonly folder: string; readonly name: string; readonly volumeBytes: number },
) {
  const { folder, name, volumeBytes } = options
  const volume = join(folder, `${name}.img`)
  const bitmap = join(bench.scratch, `${name}.bitmap`)
  const repository = join(bench.scratch, `repository-${name}`)
  sparseVolume(volume, volumeBytes, {
    granules: scatteredGranules(volumeBytes, CHANGED_GRANULES, 1),
    seed: 1,
  })
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume, '--checkpoint', 'one'))
  const granules = scatteredGranules(volumeBytes, CHANGED_GRANULES, 2)
  writeBitmap(bitmap, volumeBytes, granules)
  let seed = 2
  const changes = ['--changes', `bitmap:${bitmap},granularity=64KiB,since=one`]
  const backup = {
    command: backupCommand(repository, volume, ...changes),
    // Other bytes each time, or the second turn would find all of them known.
    prepare() {
      const file = openSync(volume, 'r+')
      writeGranules(file, { granules, seed: (seed += 1) })
      closeSync(file)
    },
  }
  const before = folderBytes(repository)
  backup.prepare()
  await runCommand(backup.command)
  return { volume, bitmap, repository, backup, addedBytes: folderBytes(repository) - before }
}
