import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, type Bench, type Part } from './harness/bench.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupInto } from './mover-commands.js'
import { writeNoise } from './volumes/noise.js'

const VOLUME_BYTES = 4 * 2 ** 30

/** Noise: the codec must cost almost nothing. */
export const incompressiblePart: Part = {
  name: 'incompressible',
  about: 'a full backup of 4 GiB of noise, against the disk doing both at once and against BLAKE3',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = join(bench.scratch, 'noise.img')
  if (!existsSync(volume)) writeNoise(volume, 1, VOLUME_BYTES)
  const repository = join(bench.scratch, 'repository')
  const rounds = await runRounds(
    {
      mover: backupInto(repository, volume),
      'limit: disk': {
        command: limits('copy', volume, bench.scratch, '--write-bytes', String(VOLUME_BYTES)),
        seconds: ownSeconds,
      },
      'limit: BLAKE3': {
        command: limits('compute', volume, '--codec', 'none'),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  rmSync(volume)
  bench.report({
    what: 'full backup of noise: rate as part of the limit',
    value: ratioOf(rounds, r => Math.max(r['limit: disk'], r['limit: BLAKE3']) / r.mover),
    unit: 'x',
    bound: { least: 0.85 },
    timed: rounds.timed,
    notes: ['4 GiB of AES-CTR noise, seed 1'],
  })
}
