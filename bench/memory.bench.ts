import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { mover, type Bench, type Part } from './harness/bench.js'
import type { Command } from './harness/command.js'
import { peakMemory } from './harness/peak-memory.js'
import { spreadOf } from './harness/rounds.js'
import { VOLUME, backupCommand, initRepository } from './mover-commands.js'
import { mountXfs, scatteredGranules, sparseVolume } from './volumes/sparse-volume.js'

const TIB = 2 ** 40
const MIB = 2 ** 20
const VOLUME_BYTES = 16 * TIB
const GRANULES = 131_072

/** Memory has a bound whatever the size of the volume. */
export const memoryPart: Part = {
  name: 'memory',
  about: '16 TiB sparse with 8 GiB of data, --workers 8: peak of RssAnon + RssShmem',
  run,
}

async function run(bench: Bench): Promise<void> {
  using xfs = mountXfs(bench.scratch)
  const volume = join(xfs.folder, 'volume.img')
  const granules = scatteredGranules(VOLUME_BYTES, GRANULES, 1)
  sparseVolume(volume, VOLUME_BYTES, { granules, seed: 1 })
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  const workers = ['--workers', '8']
  const target = join(xfs.folder, 'restored.img')
  const commands: Record<string, Command> = {
    backup: backupCommand(repository, volume, ...workers),
    rescan: backupCommand(repository, volume, ...workers),
    restore: mover('restore', `${VOLUME}@latest`, target, '--repo', repository, '-q', ...workers),
    verify: mover('verify', '--repo', repository, '-q', ...workers),
  }
  for (const [name, command] of Object.entries(commands)) {
    const peak = (await peakMemory(command)) / MIB
    bench.say(`  ${name}  ${peak.toFixed(0)} MiB`)
    bench.report({
      what: `${name}: peak of RssAnon + RssShmem`,
      value: spreadOf([peak]),
      unit: 'MiB',
      bound: { most: 400 },
      timed: [],
      notes: ['looked at every 5 ms'],
    })
  }
  rmSync(repository, { recursive: true, force: true })
}
