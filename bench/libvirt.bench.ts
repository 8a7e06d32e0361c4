import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Part } from './harness/bench.js'
import { folderBytes } from './harness/folder-bytes.js'
import { ratioOf, runRounds, spreadOf, type Contender, type Rounds } from './harness/rounds.js'
import { isSameDisk, wrongBytes } from './peers/compare-images.js'
import { startLibvirt, startMachine, writeInGuest } from './peers/libvirt-machine.js'
import { moverKeeper, peerKeeper, type Keeper } from './peers/machine-keeper.js'
import { findVirtnbdbackup, type Virtnbdbackup } from './peers/virtnbdbackup.js'
import { guestChanges } from './volumes/guest-changes.js'
import { mixedVolume } from './volumes/mixed-volume.js'

const GIB = 2 ** 30
const MIB = 2 ** 20
/** The main volume's proportions, smaller: there is an image of it for each of three, and what each keeps. */
const SIZES = { volumeBytes: 3 * GIB, fileBytes: 1.5 * GIB, noiseBytes: 0.75 * GIB }
const WRITTEN_BYTES = 256 * MIB
const ZEROED_BYTES = 16 * MIB

/** The disk of a running domain, by mover and by the tool that is made for it. */
export const libvirtPart: Part = {
  name: 'libvirt',
  about: 'a running domain of libvirt, in full, incremental and restored: against virtnbdbackup',
  run,
}

interface Scene {
  readonly bench: Bench
  readonly folder: string
  readonly volume: string
  readonly mover: Keeper
  readonly peers: readonly Keeper[]
  readonly notes: readonly string[]
}

async function run(bench: Bench): Promise<void> {
  const peer = findVirtnbdbackup()
  if (peer === null) throw new Error('no virtnbdbackup is here: bench/peers/install.sh installs it')
  bench.say(`  virtnbdbackup: ${peer.version}`)
  const volume = mixedVolume(bench.scratch, SIZES)
  const folder = join(bench.scratch, 'libvirt')
  rmSync(folder, { recursive: true, force: true })
  await measure({ bench, folder, volume }, peer)
  rmSync(folder, { recursive: true })
}

async function measure(
  place: Pick<Scene, 'bench' | 'folder' | 'volume'>,
  peer: Virtnbdbackup,
): Promise<void> {
  await using libvirt = await startLibvirt()

  place.bench.say(`  ${libvirt.version}`)
  const start = async (domain: string) => {
    const folder = join(place.folder, domain)
    mkdirSync(folder, { recursive: true })
    const { volume } = place
    return { folder, machine: await startMachine(libvirt.libvirtd, { domain, volume, folder }) }
  }
  const mover = await start('mover')
  const scene: Scene = {
    ...place,
    mover: moverKeeper(mover.machine, mover.folder),
    peers: [
      peerKeeper(await start('plain'), peer, { name: 'virtnbdbackup', full: [], incremental: [] }),
      // Compressed as mover's is, and told to take along what is sparse by now.
      peerKeeper(await start('whole'), peer, {
        name: 'virtnbdbackup -z --no-sparse-detection',
        full: ['-z'],
        incremental: ['-z', '--no-sparse-detection'],
      }),
    ],
    notes: [`virtnbdbackup ${peer.version}`, libvirt.version],
  }
  await measureFull(scene)
  await measureIncremental(scene)
  await measureRestore(scene)
}

/** Each time the first backup of a machine that nobody has backed up. */
async function measureFull(scene: Scene): Promise<void> {
  const measured = await takeTurns(scene, keeper => ({
    prepare: () => keeper.begin(),
    command: keeper.full,
  }))
  reportTimes(scene, measured, 'libvirt domain, full')
  reportStored(scene, 'libvirt domain, full', keeper => folderBytes(keeper.store))
}

/** Each round on top of the one before, as it is done daily. */
async function measureIncremental(scene: Scene): Promise<void> {
  const { bench, folder, volume } = scene
  const changes = guestChanges(volume, {
    times: bench.rounds,
    writtenBytes: WRITTEN_BYTES,
    zeroedBytes: ZEROED_BYTES,
  })
  const before = new Map<Keeper, number>()
  const measured = await takeTurns(scene, keeper => {
    const left = changes.values()
    before.set(keeper, folderBytes(keeper.store))
    return {
      async prepare() {
        const { value } = left.next()
        if (value === undefined) throw new Error('there are more rounds than changes')
        await writeInGuest(keeper.machine, value, folder)
      },
      command: keeper.incremental,
    }
  })
  const written = `${WRITTEN_BYTES / MIB} MiB written in 64 KiB pieces, ${ZEROED_BYTES / MIB} MiB zeroed`
  const noted = { ...scene, notes: [...scene.notes, written] }
  reportTimes(noted, measured, 'libvirt domain, incremental')
  reportStored(
    noted,
    'libvirt domain, incremental',
    keeper => (folderBytes(keeper.store) - (before.get(keeper) ?? NaN)) / bench.rounds,
  )
}

/** The newest state, held against the image that the guest has. */
async function measureRestore(scene: Scene): Promise<void> {
  const { bench, folder, mover, peers, notes } = scene
  const measured = await takeTurns(scene, keeper => ({
    prepare: () => keeper.clear(),
    command: keeper.restore,
    // What comes out of others is only told of, below.
    check() {
      if (keeper === mover && !isSameDisk(keeper.restored, keeper.machine.image)) {
        throw new Error('mover has not restored the disk that the guest has')
      }
    },
  }))
  reportTimes(scene, measured, 'libvirt domain, restore to qcow2')
  for (const { name, restored, machine } of [mover, ...peers]) {
    bench.report({
      what: `libvirt domain, restored: MiB that are not what the guest has, ${name}`,
      value: spreadOf([wrongBytes(restored, machine.image, folder) / MIB]),
      unit: 'MiB',
      bound: name === mover.name ? { most: 0 } : null,
      timed: [],
      notes: [
        ...notes,
        `before each of ${bench.rounds} incrementals, ${ZEROED_BYTES / MIB} MiB of data became zero`,
      ],
    })
  }
}

async function takeTurns(
  { bench, mover, peers }: Scene,
  contenderOf: (keeper: Keeper) => Contender,
): Promise<Rounds<string>> {
  const contenders = Object.fromEntries(
    [mover, ...peers].map(keeper => [keeper.name, contenderOf(keeper)]),
  )
  return runRounds(contenders, { count: bench.rounds, say: bench.say })
}

function reportTimes(
  { bench, mover, peers, notes }: Scene,
  measured: Rounds<string>,
  what: string,
) {
  for (const { name } of peers) {
    bench.report({
      what: `${what}: time against ${name}`,
      value: ratioOf(measured, round => (round[mover.name] ?? NaN) / (round[name] ?? NaN)),
      unit: 'x',
      bound: null,
      timed: measured.timed,
      notes,
    })
  }
}

function reportStored(
  { bench, mover, peers, notes }: Scene,
  what: string,
  bytesOf: (keeper: Keeper) => number,
): void {
  const sizes = [mover, ...peers].map(
    keeper => `${keeper.name} ${(bytesOf(keeper) / 1e6).toFixed(0)} MB`,
  )
  for (const peer of peers) {
    bench.report({
      what: `${what}: stored, against ${peer.name}`,
      value: spreadOf([bytesOf(mover) / bytesOf(peer)]),
      unit: 'x',
      bound: null,
      timed: [],
      notes: [...notes, sizes.join(', ')],
    })
  }
}
