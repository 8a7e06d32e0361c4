import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import {
  VOLUME,
  backupCommand,
  backupInto,
  compareFiles,
  initRepository,
} from './mover-commands.js'
import { databaseVolume } from './volumes/database-volume.js'

/** A database as it is, instead of what is made up. */
export const databasePart: Part = {
  name: 'database',
  about: 'a PostgreSQL volume in two states: full, and by bitmap, against the limit',
  run,
}

async function run(bench: Bench): Promise<void> {
  const { before, after } = databaseVolume(bench.scratch)
  const [full, next] = [join(bench.scratch, 'full'), join(bench.scratch, 'next')]
  const changes = `bitmap:${after.bitmap},granularity=64KiB,since=one`
  await initRepository(full)
  await runCommand(backupCommand(full, before))
  const packBytes = folderBytes(join(full, 'packs'))
  const rounds = await runRounds(
    {
      'mover, full': backupInto(full, before),
      'mover, by bitmap': {
        async prepare() {
          await initRepository(next)
          await runCommand(backupCommand(next, before, '--checkpoint', 'one'))
        },
        command: backupCommand(next, after.volume, '--changes', changes),
      },
      'limit: disk': {
        command: limits('copy', before, bench.scratch, '--write-bytes', String(packBytes)),
        seconds: ownSeconds,
      },
      'limit: cores': { command: limits('compute', before, '--codec', 'lz4'), seconds: ownSeconds },
      'limit: read, hash, compress': {
        command: limits(
          ...['scattered', after.volume, '--bitmap', after.bitmap],
          ...['--granularity', '65536', '--codec', 'lz4'],
        ),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  const restored = join(bench.scratch, 'database.out')
  await runCommand(mover('restore', `${VOLUME}@latest`, restored, '--repo', next, '--quiet'))
  await compareFiles(restored, after.volume)
  for (const path of [restored, full, next]) rmSync(path, { recursive: true, force: true })
  const changed = `${(after.bytes / 2 ** 20).toFixed(0)} MiB changed in granules of 64 KiB`
  const common = { unit: 'x', timed: rounds.timed, notes: [changed] }
  bench.report({
    ...common,
    what: 'database, full backup: rate as part of the limit',
    value: ratioOf(rounds, r => Math.max(r['limit: disk'], r['limit: cores']) / r['mover, full']),
    bound: { least: 0.8 },
  })
  bench.report({
    ...common,
    what: 'database, by bitmap: time against only reading, hashing, compressing it',
    value: ratioOf(rounds, r => r['mover, by bitmap'] / r['limit: read, hash, compress']),
    bound: { most: 1.4 },
  })
}
