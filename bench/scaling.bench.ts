import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Bench, type Part } from './harness/bench.js'
import { ratioOf, runRounds, type Contender } from './harness/rounds.js'
import { backupInto } from './mover-commands.js'
import { mixedVolume } from './volumes/mixed-volume.js'

/** What a second core brings. */
export const scalingPart: Part = {
  name: 'scaling',
  about: 'a full backup with zstd:3 on one core and on two, and by --workers',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  const backup = (workers: number, cores: string): Contender => {
    const options = { init: ['--codec', 'zstd:3'], backup: ['--workers', String(workers)] }
    const { command, ...contender } = backupInto(repository, volume, options)
    return { ...contender, command: { argv: ['taskset', '-c', cores, ...command.argv] } }
  }
  const rounds = await runRounds(
    {
      'mover, 1 worker, 1 core': backup(1, '0'),
      'mover, 1 worker, 2 cores': backup(1, '0,1'),
      'mover, 2 workers, 2 cores': backup(2, '0,1'),
      'mover, 4 workers, 2 cores': backup(4, '0,1'),
      'mover, 8 workers, 2 cores': backup(8, '0,1'),
    },
    { count: Math.min(bench.rounds, 3), say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  const common = { unit: 'x', timed: rounds.timed, notes: [] }
  bench.report({
    ...common,
    what: 'efficiency of the second core, zstd:3',
    value: ratioOf(rounds, r => r['mover, 1 worker, 1 core'] / r['mover, 2 workers, 2 cores'] / 2),
    bound: { least: 0.9 },
  })
}
