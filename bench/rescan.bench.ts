import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { mixedVolume } from './volumes/mixed-volume.js'

/** Reading all to find that nothing has changed. */
export const rescanPart: Part = {
  name: 'rescan',
  about: 'a rescan of an unchanged volume, cold, against the read rate and BLAKE3',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume))
  const rounds = await runRounds(
    {
      mover: { command: backupCommand(repository, volume) },
      'limit: read': { command: limits('read', volume), seconds: ownSeconds },
      'limit: BLAKE3': {
        command: limits('compute', volume, '--codec', 'none'),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  bench.report({
    what: 'rescan of an unchanged volume: rate as part of the limit',
    value: ratioOf(rounds, r => Math.max(r['limit: read'], r['limit: BLAKE3']) / r.mover),
    unit: 'x',
    bound: { least: 0.85 },
    timed: rounds.timed,
    notes: [],
  })
}
