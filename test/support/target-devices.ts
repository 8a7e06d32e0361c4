/** Block devices for tests, in states in which they may and may not be written. Made as root; gone when the test ends. */
import { execFile } from 'node:child_process'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { mkdir, open, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const execute = promisify(execFile)

export interface LoopOptions {
  /** Of `deviceFolder`; the backing file is made in it. */
  readonly folder: string
  readonly bytes: number
  /** Every byte of it, before the test begins; zeroes, and holes, unless given. */
  readonly fill?: number
  readonly isReadOnly?: boolean
}

/** A loop device over a new file, and that file. */
export interface LoopDevice {
  readonly device: string
  readonly backing: string
}

let count = 0

/**
 * A new folder for devices and mounts. Not t.testdir(), which is emptied while they are still there.
 */
export function deviceFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mover-test-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Attaches a new file of whole sectors as a block device. */
export async function makeLoop(
  t: Test,
  { folder, bytes, fill, isReadOnly = false }: LoopOptions,
): Promise<LoopDevice> {
  const backing = join(folder, `backing-${(count += 1)}`)
  await writeFile(backing, fill === undefined ? '' : Buffer.alloc(bytes, fill))
  await truncate(backing, bytes)
  const flags = isReadOnly ? ['--read-only'] : []
  const device = await output('losetup', [...flags, '--find', '--show', backing])
  t.teardown(() => output('losetup', ['--detach', device]))
  return { device, backing }
}

/** Makes the device longer, as an orchestrator does with a volume in use. */
export async function growLoop({ device, backing }: LoopDevice, bytes: number): Promise<void> {
  await truncate(backing, bytes)
  await output('losetup', ['--set-capacity', device])
}

/** Makes an ext4 on the device and mounts it; returns where. */
export async function mountExt4(t: Test, { folder, device }: Place): Promise<string> {
  await output('mkfs.ext4', ['-q', '-F', device])
  const mountPoint = join(folder, `mount-${(count += 1)}`)
  await mkdir(mountPoint)
  await output('mount', [device, mountPoint])
  t.teardown(() => output('umount', [mountPoint]))
  return mountPoint
}

/** Mounts a tmpfs of so many bytes: a disk that is soon full. */
export async function mountSmall(t: Test, folder: string, bytes: number): Promise<string> {
  const mountPoint = join(folder, `mount-${(count += 1)}`)
  await mkdir(mountPoint)
  await output('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', mountPoint])
  t.teardown(() => output('umount', [mountPoint]))
  return mountPoint
}

/** Makes the device swap and uses it; false where this kernel lets nobody. */
export async function swapOn(t: Test, device: string): Promise<boolean> {
  await output('mkswap', [device])
  try {
    await output('swapon', [device])
  } catch {
    return false
  }
  t.teardown(() => output('swapoff', [device]))
  return true
}

/** Claims the device as a mount or a device mapper does, until the test ends. */
export async function claim(t: Test, device: string): Promise<void> {
  const file = await open(device, constants.O_RDWR | constants.O_EXCL)
  t.teardown(() => file.close())
}

interface Place {
  readonly folder: string
  readonly device: string
}

async function output(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, args)
  return stdout.trim()
}
