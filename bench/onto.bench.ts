import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { limits, mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ownSeconds, ratioOf, runRounds, type Contender } from './harness/rounds.js'
import { VOLUME, backupCommand, compareFiles, initRepository } from './mover-commands.js'
import { GRANULARITY_BYTES, changedVolume, pickGranules } from './volumes/changed-volume.js'
import { dataGranules, mixedVolume } from './volumes/mixed-volume.js'

/** A restore by difference. */
export const ontoPart: Part = {
  name: 'onto',
  about: 'a restore onto a state 1 % and 4 % away, and onto whatever is there',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = mixedVolume(bench.scratch)
  const repository = join(bench.scratch, 'repository')
  await initRepository(repository)
  const granules = dataGranules(volume, GRANULARITY_BYTES)
  const [near, far] = [0.01, 0.04].map(
    (part, seed) =>
      changedVolume(volume, join(bench.scratch, `changed-${part}.img`), {
        granules: pickGranules(granules, Math.round(granules.length * part), seed),
        seed,
      }).volume,
  ) as [string, string]
  for (const state of [near, far, volume]) await runCommand(backupCommand(repository, state))
  const target = join(bench.scratch, 'target.img')
  const onto = (state: string, onto: string): Contender => ({
    prepare: () => copyFileSync(state, target),
    command: mover(
      ...['restore', `${VOLUME}@latest`, target, '--onto', onto, '--force=exists'],
      ...['--repo', repository, '--quiet'],
    ),
    check: () => compareFiles(target, volume),
  })
  const rounds = await runRounds(
    {
      'mover, onto 1 % away': onto(near, `${VOLUME}@latest~2`),
      'mover, onto 4 % away': onto(far, `${VOLUME}@latest~1`),
      'mover, onto auto, 1 % away': onto(near, 'auto'),
      'limit: read': {
        // The same file in the same state: a copy has no holes where the volume has.
        prepare: () => copyFileSync(near, target),
        command: limits('read', target),
        seconds: ownSeconds,
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  for (const path of [target, near, far]) rmSync(path, { force: true })
  rmSync(repository, { recursive: true, force: true })
  const common = { timed: rounds.timed, notes: [`${granules.length} chunks with data`] }
  bench.report({
    ...common,
    what: 'restore onto a state 1 % away',
    value: ratioOf(rounds, r => r['mover, onto 1 % away']),
    unit: 's',
    bound: null,
  })
  bench.report({
    ...common,
    what: 'four times the difference: how many times the time',
    value: ratioOf(rounds, r => r['mover, onto 4 % away'] / r['mover, onto 1 % away']),
    unit: 'x',
    bound: { most: 4.5 },
  })
  bench.report({
    ...common,
    what: 'restore onto auto: rate as part of the read rate',
    value: ratioOf(rounds, r => r['limit: read'] / r['mover, onto auto, 1 % away']),
    unit: 'x',
    bound: { least: 0.85 },
  })
}
