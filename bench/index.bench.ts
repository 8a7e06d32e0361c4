import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, mover, type Bench, type Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { ratioOf, runRounds, spreadOf, type Contender } from './harness/rounds.js'
import { backupCommand, initRepository } from './mover-commands.js'
import { contents } from './volumes/changed-volume.js'
import { writeGranulesTo } from './volumes/fresh-file.js'

const ENTRIES = 100_000_000
const LOOKUPS = 1_000_000
const NEW_GRANULES = 16_384

/** A repository of 4 to 6 TB, as far as its index is concerned. */
export const indexPart: Part = {
  name: 'index',
  about:
    '100 million chunks: memory, opening, answers a second, and what a backup beside them costs',
  run,
}

interface Answers {
  readonly openSeconds: number
  readonly bytes: number
  readonly newPerSecond: number
  readonly knownPerSecond: number
}

async function run(bench: Bench): Promise<void> {
  const large = join(bench.scratch, 'large')
  const id = await initAndTell(large)
  bench.say(`  making an index of ${ENTRIES} entries`)
  await runCommand({ argv: [await builtProgram(), 'make', large, id, String(ENTRIES)] })
  await measureAnswers(bench, large, id)
  await measureBackups(bench, large)
  rmSync(large, { recursive: true, force: true })
}

async function builtProgram(): Promise<string> {
  const folder = join(ROOT, 'bench', 'index')
  await runCommand({ argv: ['cargo', 'build', '--release', '--locked', '--quiet'], cwd: folder })
  return join(folder, 'target', 'release', 'index-bench')
}

async function initAndTell(repository: string): Promise<string> {
  rmSync(repository, { recursive: true, force: true })
  const { stdout } = await runCommand(mover('init', repository, '--json'))
  return (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { id: string }).id
}

async function measureAnswers(bench: Bench, repository: string, id: string): Promise<void> {
  const program = await builtProgram()
  const ask = ['ask', repository, id, String(ENTRIES), String(LOOKUPS)]
  const answers: Answers[] = []
  for (let round = 0; round < bench.rounds; round += 1) {
    const { stdout } = await runCommand({ argv: ['taskset', '-c', '1', program, ...ask] })
    bench.say(`  ${stdout.trim()}`)
    answers.push(JSON.parse(stdout) as Answers)
  }
  const value = (of: (answer: Answers) => number) => spreadOf(answers.map(of))
  const common = { timed: [], notes: ['one thread on one core; pages in memory'] }
  bench.report({
    ...common,
    what: 'index of 100 million chunks: RssAnon + RssShmem',
    value: value(({ bytes }) => bytes / 2 ** 20),
    unit: 'MiB',
    bound: { most: 64 },
  })
  bench.report({
    ...common,
    what: 'index of 100 million chunks: opening',
    value: value(({ openSeconds }) => openSeconds),
    unit: 's',
    bound: { most: 0.3 },
  })
  bench.report({
    ...common,
    what: '"new" answers a second',
    value: value(({ newPerSecond }) => newPerSecond / 1e6),
    unit: 'million/s',
    bound: { least: 2 },
  })
  bench.report({
    ...common,
    what: '"known" answers a second, with the look whether the pack is there',
    value: value(({ knownPerSecond }) => knownPerSecond / 1e6),
    unit: 'million/s',
    bound: { least: 0.5 },
  })
}

/** New data into the large repository and into an empty one; other data in each turn. */
async function measureBackups(bench: Bench, large: string): Promise<void> {
  const [empty, volume] = [join(bench.scratch, 'empty'), join(bench.scratch, 'new.img')]
  let seed = 100
  const fresh = () => writeGranulesTo(volume, contents(NEW_GRANULES, (seed += 1)))
  const into: Contender = { prepare: fresh, command: backupCommand(large, volume, '--full') }
  const rounds = await runRounds(
    {
      'mover, 100 million chunks': into,
      'mover, empty repository': {
        async prepare() {
          fresh()
          await initRepository(empty)
        },
        command: backupCommand(empty, volume, '--full'),
      },
    },
    { count: bench.rounds, say: bench.say },
  )
  for (const path of [empty, volume]) rmSync(path, { recursive: true, force: true })
  bench.report({
    what: 'backup of 1 GiB of new data beside 100 million chunks: time against an empty repository',
    value: ratioOf(rounds, r => r['mover, 100 million chunks'] / r['mover, empty repository']),
    unit: 'x',
    bound: { most: 1.2 },
    timed: rounds.timed,
    notes: ['half noise, half text; cold'],
  })
}
