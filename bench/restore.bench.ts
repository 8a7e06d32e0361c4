import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupCommand, compareFiles, initRepository, restoreTo } from './mover-commands.js'
import { dataBytes, mixedVolume } from './volumes/mixed-volume.js'

/** A restore in full, every chunk compared with its digest. */
export const restorePart: Part = {
  name: 'restore',
  about: 'a restore in full to a fresh file, cold, against reading, decoding and writing the same',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume))
  const packBytes = folderBytes(join(repository, 'packs'))
  const target = join(bench.scratch, 'restored.img')
  const reads = ['--read-bytes', String(packBytes), '--write-bytes', String(dataBytes(volume))]
  const rounds = await runRounds(
    {
      mover: { ...restoreTo(repository, target), check: () => compareFiles(target, volume) },
      'limit: disk': {
        command: limits('copy', volume, bench.scratch, ...reads),
        seconds: ownSeconds,
      },
      'limit: cores': { command: limits('decode', volume, '--codec', 'lz4'), seconds: ownSeconds },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(target, { force: true })
  rmSync(repository, { recursive: true, force: true })
  bench.report({
    what: 'restore in full: rate as part of the limit',
    value: ratioOf(rounds, r => Math.max(r['limit: disk'], r['limit: cores']) / r.mover),
    unit: 'x',
    bound: { least: 0.75 },
    timed: rounds.timed,
    notes: [
      'limit: disk reads as many bytes as the packs have and writes as many as the volume has, at once',
    ],
  })
}
