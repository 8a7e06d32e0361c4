/** Backups of running machines, by the library, with the guest writing whenever a test wants it. */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  backupMachine,
  type BackupMachineOptions,
  type BackupMachineResult,
} from '../../src/backup-machine.js'
import type { BackupResult } from '../../src/backup.js'
import type { Machine } from '../../src/hypervisor/point-in-time.js'
import { openMachine, type MachineOptions } from '../../src/open-machine.js'
import type { Repository } from '../../src/repository.js'
import { rawOf, startMachine, type TestMachine } from './qemu.js'
import { idOf, makeRepository, restored } from './repository.js'
import { cmp, makeVolume, MiB } from './volumes.js'

export const VOLUME = 'vm-42/sda'

export interface MachineScene {
  readonly dir: string
  /** What the disk held at first. */
  readonly raw: string
  readonly image: string
  readonly machine: TestMachine
  readonly repository: Repository
}

/** A qcow2 of 16 MiB with data, in a machine that runs. */
export async function machineScene(t: Test): Promise<MachineScene> {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 16 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  const machine = await startMachine(t, [{ node: 'disk0', file: image }])
  return { dir, raw, image, machine, repository: await makeRepository(t, join(dir, 'repo')) }
}

export interface MachineBackup extends Partial<BackupMachineOptions> {
  readonly repository: Repository
  /** As they stand in the machine's name. */
  readonly disks?: string
  readonly options?: MachineOptions
  /** What happens while the disks are frozen, before a byte is read. */
  readonly meanwhile?: () => Promise<unknown>
}

export async function backedUpMachine(
  { socket, scratch }: Pick<TestMachine, 'socket' | 'scratch'>,
  { meanwhile = async () => {}, disks = 'disk0', options = {}, ...request }: MachineBackup,
): Promise<BackupMachineResult> {
  await using opened = await openMachine(`qmp:${socket}/${disks}`, { scratch, ...options })
  const machine: Machine = {
    ...opened,
    begin: async request => {
      const point = await opened.begin(request)
      await meanwhile()
      return point
    },
  }
  await using job = backupMachine({ volume: VOLUME, ...request, machine })
  return await job.result
}

/** The same of one disk. */
export async function backedUpDisk(
  machine: Pick<TestMachine, 'socket' | 'scratch'>,
  request: MachineBackup,
): Promise<BackupResult> {
  const { disks } = await backedUpMachine(machine, request)
  const [disk, another] = disks
  if (disk === undefined || another !== undefined) throw new Error('one disk was expected')
  return disk
}

/** What differs between a restored manifest and an image as it is now; nothing where it is right. */
export async function differenceFrom(
  image: string,
  {
    repository,
    result,
    format = 'qcow2',
  }: {
    readonly repository: Repository
    readonly result: BackupResult
    readonly format?: string
  },
): Promise<string> {
  const [target, expected] = [`${image}.restored`, `${image}.expected`]
  for (const path of [target, expected]) rmSync(path, { force: true })
  rawOf(image, expected, format)
  await restored({ repository, manifest: idOf(result), target })
  return cmp(target, expected)
}
