import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ownSeconds, ratioOf, runRounds, type Contender } from './harness/rounds.js'
import { VOLUME, backupCommand, initRepository } from './mover-commands.js'
import { contents } from './volumes/changed-volume.js'
import { writeGranulesTo } from './volumes/fresh-file.js'

/** Small enough for less than two minutes, large enough for workers. */
const GRANULES = 16_384
const ROUNDS = 5

/**
 * For continuous integration: is it a third slower than it was? What the cores can do without I/O is
 * the measure, the disk is left out by a warm cache, and the margins are wide.
 */
export const quickPart: Part = {
  name: 'quick',
  about: 'under two minutes, in memory, ratios only: backup, rescan, restore and verify of 1 GiB',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = join(bench.scratch, 'quick.img')
  writeGranulesTo(volume, contents(GRANULES, 5))
  const [repository, target] = [join(bench.scratch, 'quick'), join(bench.scratch, 'quick.out')]
  const warm = (contender: Contender): Contender => ({ ...contender, cold: false })
  const rounds = await runRounds(
    {
      'mover backup': warm({
        command: backupCommand(repository, volume),
        prepare: () => initRepository(repository),
      }),
      'mover rescan': warm({ command: backupCommand(repository, volume) }),
      'mover verify': warm({ command: mover('verify', '--repo', repository, '-q') }),
      'mover restore': warm({
        command: mover('restore', `${VOLUME}@latest`, target, '--repo', repository, '-q'),
        prepare: () => rmSync(target, { force: true }),
        check: () => runCommand({ argv: ['cmp', target, volume] }).then(() => {}),
      }),
      'limit: cores': warm({
        command: limits('compute', volume, '--codec', 'lz4'),
        seconds: ownSeconds,
      }),
      'limit: disk': warm({
        command: limits('copy', volume, bench.scratch, '--write-bytes', String(600 * 2 ** 20)),
        seconds: ownSeconds,
      }),
    },
    // Turns are not rotated here: each needs what the one before has left.
    { count: ROUNDS, say: bench.say, isRotated: false },
  )
  for (const path of [volume, repository, target]) rmSync(path, { recursive: true, force: true })
  const limit = (r: Readonly<Record<'limit: cores' | 'limit: disk', number>>) =>
    r['limit: cores'] + r['limit: disk']
  // A third more than was measured when these were written.
  const bounds = { backup: 1.6, rescan: 1.15, verify: 0.9, restore: 1.7 } as const
  for (const name of ['backup', 'rescan', 'verify', 'restore'] as const) {
    bench.report({
      what: `${name} of 1 GiB: time against computing and copying it, one after the other`,
      value: ratioOf(rounds, r => r[`mover ${name}`] / limit(r)),
      unit: 'x',
      bound: { most: bounds[name] },
      timed: rounds.timed,
      notes: [],
    })
  }
}
