import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, type Bench, type Part } from './harness/bench.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupInto } from './mover-commands.js'
import { mixedVolume } from './volumes/mixed-volume.js'

/** Full backups with zstd, against zstd alone. */
export const codecsPart: Part = {
  name: 'codecs',
  about:
    'a full backup with zstd:1 and zstd:3, against what the C library does on all cores, no I/O',
  async run(bench) {
    for (const codec of ['zstd:1', 'zstd:3']) await runCodec(bench, codec)
  },
}

async function runCodec(bench: Bench, codec: string): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  const rounds = await runRounds(
    {
      mover: backupInto(repository, volume, { init: ['--codec', codec] }),
      'limit: zstd': {
        command: limits('compute', volume, '--codec', codec, '--no-hash'),
        seconds: ownSeconds,
      },
      'limit: zstd and BLAKE3': {
        command: limits('compute', volume, '--codec', codec),
        seconds: ownSeconds,
      },
      'limit: zstd, BLAKE3 and proof': {
        command: limits('compute', volume, '--codec', codec, '--prove'),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(repository, { recursive: true, force: true })
  const common = { unit: 'x', timed: rounds.timed, notes: [] }
  bench.report({
    ...common,
    what: `full backup, ${codec}: rate as part of the library's alone`,
    value: ratioOf(rounds, r => r['limit: zstd'] / r.mover),
    bound: { least: 0.85 },
  })
  bench.report({
    ...common,
    what: `full backup, ${codec}: the same with hashing`,
    value: ratioOf(rounds, r => r['limit: zstd and BLAKE3'] / r.mover),
    bound: null,
  })
  bench.report({
    ...common,
    what: `full backup, ${codec}: the same with hashing, each chunk decoded again and compared`,
    value: ratioOf(rounds, r => r['limit: zstd, BLAKE3 and proof'] / r.mover),
    bound: null,
  })
}
