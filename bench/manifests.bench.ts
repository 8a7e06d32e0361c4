import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ratioOf, runRounds, type Contender } from './harness/rounds.js'
import { VOLUME, backupCommand, initRepository } from './mover-commands.js'
import { addManifests } from './volumes/many-manifests.js'
import { writeNoise } from './volumes/noise.js'

const VOLUMES = 200
const MANIFESTS_PER_VOLUME = 50
const VOLUME_BYTES = 64 * 2 ** 20

/** Many manifests cost who lists them, and nobody else. */
export const manifestsPart: Part = {
  name: 'manifests',
  about: '10,000 manifests of 200 volumes: listing them, opening, and what a backup costs',
  run,
}

async function run(bench: Bench): Promise<void> {
  const volume = join(bench.scratch, 'small.img')
  rmSync(volume, { force: true })
  writeNoise(volume, 3, VOLUME_BYTES)
  const [many, few] = [join(bench.scratch, 'many'), join(bench.scratch, 'few')]
  for (const repository of [many, few]) {
    await initRepository(repository)
    await runCommand(backupCommand(repository, volume))
  }
  await addManifests(many, { volumes: VOLUMES, perVolume: MANIFESTS_PER_VOLUME })
  const warm = (command: Contender['command']): Contender => ({ command, cold: false })
  const rounds = await runRounds(
    {
      'mover list': warm(mover('list', '--repo', many, '--quiet')),
      'mover list VOLUME': warm(mover('list', VOLUME, '--repo', many, '--quiet')),
      'mover backup, 10,000 manifests': warm(backupCommand(many, volume)),
      'mover backup, few manifests': warm(backupCommand(few, volume)),
    },
    { count: Math.max(bench.rounds, 5), say: bench.say },
  )
  for (const path of [many, few, volume]) rmSync(path, { recursive: true, force: true })
  const common = { timed: rounds.timed, notes: ['page cache warm'] }
  bench.report({
    ...common,
    what: 'list, 10,000 manifests',
    value: ratioOf(rounds, r => r['mover list']),
    unit: 's',
    bound: { most: 0.5 },
  })
  bench.report({
    ...common,
    what: 'opening, and listing one volume of 200',
    value: ratioOf(rounds, r => r['mover list VOLUME']),
    unit: 's',
    bound: { most: 0.2 },
  })
  bench.report({
    ...common,
    what: 'a backup beside 10,000 manifests: time against beside few',
    value: ratioOf(
      rounds,
      r => r['mover backup, 10,000 manifests'] / r['mover backup, few manifests'],
    ),
    unit: 'x',
    bound: { most: 1.05 },
  })
}
