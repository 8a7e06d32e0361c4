import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ownSeconds, ratioOf, runRounds } from './harness/rounds.js'
import { backupInto } from './mover-commands.js'
import { plainCopies } from './peers/plain-copy.js'
import { mixedVolume } from './volumes/mixed-volume.js'

/** A full backup against what the machine can do, and against a plain copy. */
export const fullPart: Part = {
  name: 'full',
  about: 'a full backup, lz4, 64 KiB chunks, cold, against the limit and a flushed plain copy',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  const backup = backupInto(repository, volume)
  await backup.prepare?.()
  await runCommand(backup.command)
  const packBytes = folderBytes(join(repository, 'packs'))
  const copy = join(bench.scratch, 'copy.img')
  const copies = plainCopies(volume, copy)
  const rounds = await runRounds(
    {
      mover: backup,
      'limit: disk': {
        command: limits('copy', volume, bench.scratch, '--write-bytes', String(packBytes)),
        seconds: ownSeconds,
      },
      'limit: cores': {
        command: limits('compute', volume, '--codec', 'lz4', '--chunk', '65536'),
        seconds: ownSeconds,
      },
      'qemu-img': { command: copies.qemuImg, prepare: () => rmSync(copy, { force: true }) },
      nbdcopy: { command: copies.nbdcopy, prepare: () => rmSync(copy, { force: true }) },
    },
    { count: bench.rounds, say: bench.say },
  )
  rmSync(copy, { force: true })
  rmSync(repository, { recursive: true, force: true })

  const { timed } = rounds
  const notes = [`${volume}; packs of ${(packBytes / 1e6).toFixed(0)} MB`]
  bench.report({
    what: 'full backup, lz4: rate as part of the limit',
    value: ratioOf(rounds, r => Math.max(r['limit: disk'], r['limit: cores']) / r.mover),
    unit: 'x',
    bound: { least: 0.8 },
    timed,
    notes,
  })
  bench.report({
    what: 'full backup, lz4: time against the faster plain copy',
    value: ratioOf(rounds, r => r.mover / Math.min(r['qemu-img'], r.nbdcopy)),
    unit: 'x',
    bound: { most: 0.9 },
    timed,
    notes,
  })
}
