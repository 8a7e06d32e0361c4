import { linkSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Part } from './harness/bench.js'
import { runCommand } from './harness/command.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ratioOf, runRounds, type Contender, type Rounds } from './harness/rounds.js'
import {
  backupCommand,
  backupInto,
  compareFiles,
  initRepository,
  restoreTo,
} from './mover-commands.js'
import { installedPeers } from './peers/installed-peers.js'
import type { Peer } from './peers/peer.js'
import { GRANULARITY_BYTES, changedVolume, pickGranules } from './volumes/changed-volume.js'
import { dataGranules, mixedVolume } from './volumes/mixed-volume.js'

const CHANGED = 0.07
/** Each peer takes half a minute a turn. */
const ROUNDS_MAX = 3

/** The same job done by others. */
export const peersPart: Part = {
  name: 'peers',
  about: 'full backup, the next one, and restore: against borg, restic, rustic and kopia',
  run,
}

interface Scene {
  readonly bench: Bench
  readonly peers: readonly Peer[]
  readonly volume: string
  readonly rounds: number
}

async function run(bench: Bench): Promise<void> {
  const peers = installedPeers()
  for (const { name, version } of peers) bench.say(`  ${name}: ${version}`)
  if (peers.length === 0) throw new Error('no peer is here: bench/peers/install.sh installs them')
  const volume = mixedVolume(bench.scratch)
  const scene = { bench, peers, volume, rounds: Math.min(bench.rounds, ROUNDS_MAX) }
  await measureFull(scene)
  await measureNext(scene)
  await measureRestore(scene)
  for (const { name } of [...peers, { name: 'mover' }]) {
    rmSync(repositoryOf(bench, name), { recursive: true, force: true })
  }
}

function repositoryOf({ scratch }: Bench, name: string): string {
  return join(scratch, `repository-${name}`)
}

async function measureFull({ bench, peers, volume, rounds }: Scene): Promise<void> {
  const item = itemOf(bench, volume)
  const contenders: Record<string, Contender> = {
    mover: backupInto(repositoryOf(bench, 'mover'), volume),
  }
  for (const peer of peers) {
    const repository = repositoryOf(bench, peer.name)
    contenders[peer.name] = {
      prepare: () => initPeer(peer, repository),
      command: peer.backup(repository, item),
    }
  }
  const measured = await runRounds(contenders, { count: rounds, say: bench.say })
  report({ bench, peers }, measured, {
    what: 'full backup, lz4: times as fast as the fastest peer',
    mover: 'mover',
    least: 4,
  })
}

async function measureNext({ bench, peers, volume, rounds }: Scene): Promise<void> {
  const all = dataGranules(volume, GRANULARITY_BYTES)
  const granules = pickGranules(all, Math.round(all.length * CHANGED), 7)
  const changed = changedVolume(volume, join(bench.scratch, 'next.img'), { granules, seed: 7 })
  const repository = repositoryOf(bench, 'mover')
  const firstAgain = async () => {
    await initRepository(repository)
    await runCommand(backupCommand(repository, volume, '--checkpoint', 'one'))
  }
  const changes = `bitmap:${changed.bitmap},granularity=64KiB,since=one`
  const contenders: Record<string, Contender> = {
    'mover, rescan': { prepare: firstAgain, command: backupCommand(repository, changed.volume) },
    'mover, by bitmap': {
      prepare: firstAgain,
      command: backupCommand(repository, changed.volume, '--changes', changes),
    },
  }
  for (const peer of peers) {
    const place = repositoryOf(bench, peer.name)
    contenders[peer.name] = {
      async prepare() {
        await initPeer(peer, place)
        await runCommand(peer.backup(place, itemOf(bench, volume)))
        itemOf(bench, changed.volume)
      },
      command: peer.backup(place, join(bench.scratch, 'item')),
    }
  }
  const measured = await runRounds(contenders, { count: rounds, say: bench.say })
  const notes = [
    `${(changed.bytes / 2 ** 20).toFixed(0)} MiB changed, ${CHANGED * 100} % of the data`,
  ]
  report({ bench, peers }, measured, {
    what: 'the next backup, rescan: times as fast as the fastest peer',
    mover: 'mover, rescan',
    least: 3,
    notes,
  })
  report({ bench, peers }, measured, {
    what: 'the next backup, by bitmap: times as fast as the fastest peer',
    mover: 'mover, by bitmap',
    least: 10,
    notes,
  })
  rmSync(changed.volume)
}

/** Whatever is the newest in each repository, which is one and the same volume. */
async function measureRestore({ bench, peers, volume, rounds }: Scene): Promise<void> {
  const repository = repositoryOf(bench, 'mover')
  await initRepository(repository)
  await runCommand(backupCommand(repository, volume))
  const [target, into] = [join(bench.scratch, 'restored.img'), join(bench.scratch, 'restored')]
  const contenders: Record<string, Contender> = {
    mover: { ...restoreTo(repository, target), check: () => compareFiles(target, volume) },
  }
  for (const peer of peers) {
    const place = repositoryOf(bench, peer.name)
    await initPeer(peer, place)
    await runCommand(peer.backup(place, itemOf(bench, volume)))
    contenders[peer.name] = {
      prepare() {
        rmSync(into, { recursive: true, force: true })
        mkdirSync(into)
      },
      command: peer.restore(place, into),
      check: () => compareFiles(foundBelow(into), volume),
    }
  }
  const measured = await runRounds(contenders, { count: rounds, say: bench.say })
  for (const path of [target, into]) rmSync(path, { recursive: true, force: true })
  report({ bench, peers }, measured, {
    what: 'restore in full: times as fast as the fastest peer',
    mover: 'mover',
    least: 3,
  })
}

function report(
  { bench, peers }: Pick<Scene, 'bench' | 'peers'>,
  measured: Rounds<string>,
  row: { what: string; mover: string; least: number; notes?: string[] },
): void {
  const fastest = (round: Readonly<Record<string, number>>) =>
    Math.min(...peers.map(({ name }) => round[name] ?? Infinity))
  bench.report({
    what: row.what,
    value: ratioOf(measured, round => fastest(round) / (round[row.mover] ?? NaN)),
    unit: 'x',
    bound: { least: row.least },
    timed: measured.timed,
    notes: [
      ...(row.notes ?? []),
      ...peers.map(({ name, version }) => `${name}: ${version}`),
      `repositories: ${sizes(bench, peers)}`,
    ],
  })
}

function sizes(bench: Bench, peers: readonly Peer[]): string {
  const megabytes = (name: string) => folderBytes(repositoryOf(bench, name)) / 1e6
  return ['mover', ...peers.map(({ name }) => name)]
    .map(name => `${name} ${megabytes(name).toFixed(0)} MB`)
    .join(', ')
}

async function initPeer(peer: Peer, repository: string): Promise<void> {
  rmSync(repository, { recursive: true, force: true })
  for (const command of peer.init(repository)) await runCommand(command)
}

/** A folder in which a volume is `disk.img`, as a hard link. */
function itemOf({ scratch }: Bench, volume: string): string {
  const item = join(scratch, 'item')
  rmSync(item, { recursive: true, force: true })
  mkdirSync(item)
  linkSync(volume, join(item, 'disk.img'))
  return item
}

function foundBelow(folder: string): string {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).find(
    entry => entry.name === 'disk.img',
  )
  if (found === undefined) throw new Error(`nothing was restored below ${folder}`)
  return join(found.parentPath, found.name)
}
