import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { mixedVolume } from './volumes/mixed-volume.js'
import { writeNoise } from './volumes/noise.js'

/** Verification of packs and of chunks. */
export const verifyPart: Part = {
  name: 'verify',
  about: 'verify --packs against the read rate; verify against reading, decoding and hashing',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume))
  const packBytes = folderBytes(join(repository, 'packs'))
  // One file as long as all packs: what the disk reads of it in a run is the rate for them.
  const packed = join(bench.scratch, 'as-long-as-packs')
  writeNoise(packed, 2, packBytes)
  const rounds = await runRounds(
    {
      'mover verify --packs': { command: mover('verify', '--packs', '--repo', repository, '-q') },
      'mover verify': { command: mover('verify', '--repo', repository, '-q') },
      'limit: read': { command: limits('read', packed), seconds: ownSeconds },
      'limit: decode and hash': {
        command: limits('decode', volume, '--codec', 'lz4'),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(packed)
  rmSync(repository, { recursive: true, force: true })
  const common = { unit: 'x', timed: rounds.timed, notes: [] }
  bench.report({
    ...common,
    what: 'verify --packs: rate as part of the read rate',
    value: ratioOf(rounds, r => r['limit: read'] / r['mover verify --packs']),
    bound: { least: 0.85 },
  })
  bench.report({
    ...common,
    what: 'verify: rate as part of the limit',
    value: ratioOf(
      rounds,
      r => Math.max(r['limit: read'], r['limit: decode and hash']) / r['mover verify'],
    ),
    bound: { least: 0.8 },
  })
}
