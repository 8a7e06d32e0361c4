import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ratioOf, runRounds, spreadOf } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { mountXfs, scatteredGranules, sparseVolume, writeBitmap } from './volumes/sparse-volume.js'

const TIB = 2 ** 40
const VOLUME_BYTES = 16 * TIB
const GRANULES = 16_384

/** The least that an incremental can do. */
export const unchangedPart: Part = {
  name: 'unchanged',
  about: 'an incremental of a volume of 16 TiB in which nothing has changed, audit included',
  run,
}

async function run(bench: Bench): Promise<void> {
  using xfs = mountXfs(bench.scratch)
  const [volume, bitmap] = [join(xfs.folder, 'volume.img'), join(bench.scratch, 'empty.bitmap')]
  const granules = scatteredGranules(VOLUME_BYTES, GRANULES, 1)
  sparseVolume(volume, VOLUME_BYTES, { granules, seed: 1 })
  writeBitmap(bitmap, VOLUME_BYTES, [])
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume, '--checkpoint', 'one'))
  const changes = ['--changes', `bitmap:${bitmap},granularity=64KiB,since=one`]
  const written: number[] = []
  let before = 0
  const rounds = await runRounds(
    {
      mover: {
        command: backupCommand(repository, volume, ...changes),
        cold: false,
        prepare: () => void (before = folderBytes(repository)),
        check: () => void written.push((folderBytes(repository) - before) / 1024),
      },
    },
    { count: Math.max(bench.rounds, 5), say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  const common = {
    timed: rounds.timed,
    notes: [
      '1 GiB of data in 64 KiB pieces; page cache warm; the volume is on XFS in a loop device',
    ],
  }
  bench.report({
    ...common,
    what: 'nothing changed, 16 TiB, process start and audit included',
    value: ratioOf(rounds, r => r.mover),
    unit: 's',
    bound: { most: 0.5 },
  })
  bench.report({
    ...common,
    what: 'nothing changed, 16 TiB: written to the repository',
    value: spreadOf(written),
    unit: 'KiB',
    bound: { most: 64 },
  })
}
