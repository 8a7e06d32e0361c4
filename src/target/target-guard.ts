import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { MoverError } from '../core/errors.js'

/** What a caller may lift, one at a time. Nothing lifts mounted, held, swap, repository, read-only or too small. */
export const FORCE_REASONS = ['exists', 'in-use', 'identity'] as const

export type ForceReason = (typeof FORCE_REASONS)[number]

export interface GuardOptions {
  readonly force: readonly ForceReason[]
  /** WWID or serial that a block target must have; null pins nothing. */
  readonly identity: string | null
  /** Root folder of the repository that is restored from; null where it is not a folder. */
  readonly repositoryPath: string | null
  /** Where the kernel's own tables are mounted. */
  readonly procPath?: string
  readonly sysPath?: string
}

/** What stands at the target's path. A file may be missing; a block device must be there. */
export type TargetKind = 'missing' | 'file' | 'block'

/**
 * Says what the target is, or throws why it may not be written. It only looks: opening a block
 * device exclusively comes after it, and is what the kernel itself enforces.
 *
 * Throws TARGET_REFUSED with `details.reason` (mounted, held, swap, repository, in-use, identity),
 * TARGET_EXISTS, or TARGET_UNUSABLE for what is neither a file nor a block device.
 */
export async function guardTarget(path: string, options: GuardOptions): Promise<TargetKind> {
  const { procPath = '/proc', sysPath = '/sys' } = options
  const found = await orNull(stat(path))
  if (found !== null && found.isBlockDevice()) {
    await guardDevice(path, deviceNumber(found.rdev), { ...options, procPath, sysPath })
    return 'block'
  }
  if (found !== null && !found.isFile()) {
    throw new MoverError('TARGET_UNUSABLE', `${path} is neither a file nor a block device`, {
      stage: 'open',
      remedy: 'name a new file, a block device, or - for standard output',
    })
  }
  // Who pins an identity means a device: a path that leads to none today is another mistake.
  if (options.identity !== null && !options.force.includes('identity')) {
    const is = found === null ? 'there is no such device' : 'it is a file, which has none'
    throw refused(path, 'identity', `it is not ${options.identity}: ${is}`)
  }
  if (found === null) await guardMissing(path, options.repositoryPath)
  else await guardFile(path, { ...options, procPath, sysPath })
  return found === null ? 'missing' : 'file'
}

async function guardMissing(path: string, repositoryPath: string | null): Promise<void> {
  const folder = await realDirectory(path)
  await refuseInsideRepository(join(folder, basename(path)), repositoryPath)
  const link = await orNull(lstat(path))
  if (link !== null) {
    throw new MoverError('TARGET_UNUSABLE', `${path} is a link that leads nowhere`, {
      stage: 'open',
      remedy: 'name the file that is to be made',
    })
  }
  // A mistyped or unplugged device must not become a file in memory of the device's name.
  const devices = await orNull(stat('/dev'))
  if (devices !== null && (await stat(folder)).dev === devices.dev && folder.startsWith('/dev')) {
    throw new MoverError('TARGET_UNUSABLE', `there is no device ${path}`, {
      stage: 'open',
      remedy: 'check the name, and that the device is attached',
    })
  }
}

async function guardFile(path: string, options: GuardOptions & Paths): Promise<void> {
  const { procPath, sysPath, force, repositoryPath } = options
  const real = await realpath(path)
  await refuseInsideRepository(real, repositoryPath)
  if (await isActiveSwap(real, procPath)) throw refused(path, 'swap', 'it is in use as swap')
  const loop = await loopDeviceOf(real, sysPath)
  if (loop !== null && !force.includes('in-use')) throw refused(path, 'in-use', `it backs ${loop}`)
  if (!force.includes('exists')) throw targetExists(path)
}

type Paths = { readonly procPath: string; readonly sysPath: string }

async function guardDevice(
  path: string,
  device: string,
  options: GuardOptions & Paths,
): Promise<void> {
  const { procPath, sysPath, force, identity, repositoryPath } = options
  const family = await deviceFamily(device, sysPath)
  const mounted = await mountPointOf(family, procPath)
  if (mounted !== null) throw refused(path, 'mounted', `it is mounted at ${mounted}`)
  const holders = await namesIn(join(sysPath, 'dev/block', device, 'holders'))
  if (holders.length > 0) throw refused(path, 'held', `it is held by ${holders.join(', ')}`)
  if (await isActiveSwap(await realpath(path), procPath)) {
    throw refused(path, 'swap', 'it is in use as swap')
  }
  if (repositoryPath !== null) {
    const repository = deviceNumber((await stat(repositoryPath)).dev)
    if (family.has(repository)) throw refused(path, 'repository', 'the repository is on it')
  }
  if (identity !== null && !force.includes('identity')) {
    const known = await identitiesOf(device, sysPath)
    if (!known.includes(identity)) {
      const found = known.length === 0 ? 'the kernel knows none' : `it has ${known.join(', ')}`
      throw refused(path, 'identity', `it is not ${identity}: ${found}`)
    }
  }
}

/** The device with its whole disk and its partitions: whatever is mounted of these holds it. */
async function deviceFamily(device: string, sysPath: string): Promise<Set<string>> {
  const family = new Set([device])
  const folder = await realpath(join(sysPath, 'dev/block', device)).catch(onMissing(null))
  if (folder === null) return family
  if ((await textOf(join(folder, 'partition'))) !== null) {
    const whole = await textOf(join(dirname(folder), 'dev'))
    if (whole !== null) family.add(whole)
    return family
  }
  for (const name of await namesIn(folder)) {
    if ((await textOf(join(folder, name, 'partition'))) === null) continue
    const part = await textOf(join(folder, name, 'dev'))
    if (part !== null) family.add(part)
  }
  return family
}

/** WWID and serial as sysfs gives them, for SCSI, NVMe and virtio disks and for device mapper. */
async function identitiesOf(device: string, sysPath: string): Promise<string[]> {
  const folder = join(sysPath, 'dev/block', device)
  const files = ['wwid', 'device/wwid', 'serial', 'device/serial', 'dm/uuid', 'uuid']
  const texts = await Promise.all(files.map(file => textOf(join(folder, file))))
  // Serial numbers are padded with blanks to their field's length.
  const known = texts.map(text => text?.trim() ?? '').filter(text => text !== '')
  return [...new Set(known)]
}

async function mountPointOf(
  devices: ReadonlySet<string>,
  procPath: string,
): Promise<string | null> {
  // Lines of proc(5) mountinfo: id, parent, major:minor, root, mount point, ...
  const table = (await textOf(join(procPath, 'self/mountinfo'))) ?? ''
  for (const line of table.split('\n')) {
    const [, , device, , mountPoint] = line.split(' ')
    if (device !== undefined && devices.has(device)) return mountPoint ?? '?'
  }
  return null
}

async function isActiveSwap(real: string, procPath: string): Promise<boolean> {
  const table = (await textOf(join(procPath, 'swaps'))) ?? ''
  return table
    .split('\n')
    .slice(1)
    .some(line => unescapeOctal(line.split(/\s+/)[0] ?? '') === real)
}

async function loopDeviceOf(real: string, sysPath: string): Promise<string | null> {
  for (const name of await namesIn(join(sysPath, 'block'))) {
    if (!name.startsWith('loop')) continue
    if ((await textOf(join(sysPath, 'block', name, 'loop/backing_file'))) === real)
      return `/dev/${name}`
  }
  return null
}

async function refuseInsideRepository(real: string, repositoryPath: string | null): Promise<void> {
  if (repositoryPath === null) return
  const root = await realpath(repositoryPath)
  if (real.startsWith(`${root}/`)) {
    throw refused(real, 'repository', `it lies inside the repository ${root}`)
  }
}

async function realDirectory(path: string): Promise<string> {
  const directory = dirname(resolve(path))
  try {
    return await realpath(directory)
  } catch (cause) {
    throw new MoverError('TARGET_UNUSABLE', `the folder ${directory} is not there`, {
      stage: 'open',
      remedy: 'make it, or name another target',
      cause,
    })
  }
}

/** What can be undone by a person: the rest is where it is. */
const IS_FREED: readonly string[] = ['mounted', 'held', 'swap']

function refused(path: string, reason: string, message: string): MoverError {
  const isLifted = (FORCE_REASONS as readonly string[]).includes(reason)
  return new MoverError('TARGET_REFUSED', `${path} may not be written: ${message}`, {
    stage: 'open',
    details: { reason },
    remedy: isLifted
      ? `if you are sure, add --force=${reason}`
      : `${IS_FREED.includes(reason) ? 'free it first, or name' : 'name'} another target; no --force lifts this`,
  })
}

/** The refusal to write to a file that a QEMU, or who keeps to its locks, has open for writing. */
export function openElsewhere(path: string): MoverError {
  return refused(path, 'in-use', 'a program has it open for writing, such as the QEMU of a machine')
}

/** The error of a target that is to be built on, and is not there. */
export function nothingToKeep(path: string): MoverError {
  return new MoverError('TARGET_STATE', `${path} is not there, so it holds no state to build on`, {
    stage: 'open',
    remedy: 'restore in full, without --onto',
  })
}

/** The refusal to write over a file that is there. */
export function targetExists(path: string): MoverError {
  return new MoverError('TARGET_EXISTS', `${path} exists`, {
    stage: 'open',
    remedy: 'name another file, or write over this one with --force=exists',
  })
}

/** The kernel's own "major:minor" of a Linux dev_t. */
function deviceNumber(device: number): string {
  const wide = BigInt(device)
  const major = ((wide >> 8n) & 0xfffn) | ((wide >> 32n) & ~0xfffn)
  const minor = (wide & 0xffn) | ((wide >> 12n) & ~0xffn & 0xffffffffn)
  return `${major}:${minor}`
}

function orNull<T>(look: Promise<T>): Promise<T | null> {
  return look.catch(onMissing(null))
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(onMissing([] as string[]))
}

async function textOf(file: string): Promise<string | null> {
  return readFile(file, 'utf8').then(text => text.replace(/\n$/, ''), onMissing(null))
}

/** Also what a device's own files answer while it goes away. */
const NOT_THERE: readonly unknown[] = ['ENOENT', 'ENOTDIR', 'EINVAL', 'ENODEV', 'ENXIO']

/** Only a clear "it is not there" is a no; any other failure to look means that it may not be written. */
function onMissing<T>(value: T): (error: unknown) => T {
  return error => {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (NOT_THERE.includes(code)) return value
    throw new MoverError('TARGET_UNUSABLE', `cannot look at the target: ${String(error)}`, {
      stage: 'open',
      cause: error,
    })
  }
}

/** Paths in /proc/swaps write a space, tab, newline and backslash as three octal digits. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}
