import { mkdir, stat, unlink } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { NODE_DISK } from './backend/disk.js'
import { writeDurableFile } from './backend/durable-file.js'
import type { AbortOptions } from './core/abort.js'
import type { BudgetOptions } from './core/budgets.js'
import { MoverError } from './core/errors.js'
import { invariant } from './core/invariant.js'
import { startJob, type Job, type JobContext } from './core/job.js'
import type { Manifest } from './core/manifest.js'
import { domainTargets, lostQualities, type DiskTarget } from './domain-targets.js'
import { DOMAIN_XML_NAME } from './hypervisor/libvirt/domain-attachments.js'
import { diskOfIdentity } from './hypervisor/libvirt/domain-disks.js'
import {
  oldDisks,
  restoredDomain,
  type RestoredPlace,
} from './hypervisor/libvirt/restored-domain-xml.js'
import { errorOfDisk, tellDisk } from './of-disk.js'
import { requireQemuImg } from './qemu/qemu-img.js'
import type { Repository } from './repository.js'
import { restore, type RestoreOptions, type RestoreResult } from './restore.js'
import { readAttachment } from './store/attachments.js'
import { linkTarget, partialName } from './target/file-target.js'
import { targetExists } from './target/target-guard.js'

type DiskOptions = Pick<RestoreOptions, 'force' | 'readBack'>

export interface RestoreDomainOptions extends AbortOptions, BudgetOptions, DiskOptions {
  readonly repository: Repository
  /** A reference to the manifest of one disk; those of the same set are restored with it. */
  readonly manifest: string
  /**
   * A folder for the disks; it is made where it is not there. What was a qcow2 image becomes `vda.qcow2`, and any
   * other disk `vda.raw`.
   */
  readonly folder: string
  /** Other places, by the disk's name: a file that is made, `qcow2:FILE`, or a block device. */
  readonly places?: Readonly<Record<string, string>>
  /** The file that the domain's description is written to; it must not be there yet. */
  readonly domainXml: string
}

export interface RestoreDomainResult {
  readonly operation: 'restore-domain'
  readonly domain: string
  readonly domainXml: string
  /** Id of the set; null where the disk was backed up by itself. */
  readonly set: string | null
  readonly disks: readonly RestoreResult[]
  /** What the description needs and the backup does not have. */
  readonly missing: readonly string[]
  readonly seconds: number
}

type Options = Omit<RestoreDomainOptions, 'signal'>

/**
 * Writes the disks of a domain as they were at one moment, and a description from which libvirt can define
 * the domain again. The description is written last: when it is there, the disks are whole.
 */
export function restoreDomain({
  signal,
  ...options
}: RestoreDomainOptions): Job<RestoreDomainResult> {
  return startJob(context => run(options, context), { signal })
}

async function run(options: Options, context: JobContext): Promise<RestoreDomainResult> {
  const startedMs = performance.now()
  const { repository, domainXml } = options
  const { signal, emit } = context
  const named = await repository.resolve(options.manifest, null, { signal })
  const description = await descriptionOf(named, options)
  const members = await membersOf(named, repository)
  const old = oldDisks(description)
  const targets = await domainTargets({
    ...{ members: [...members.keys()], old, domainXml },
    ...{ folder: options.folder, places: options.places ?? {} },
  })
  for (const warning of lostQualities(targets, old)) emit(warning)
  // First: the description may go there, too.
  await makeFolder(options.folder)
  await refuseUnfit(targets, options)
  // Before hours are spent on the disks.
  if ([...targets.values()].some(isImage)) await requireQemuImg('TARGET_UNUSABLE')
  const disks: RestoreResult[] = []
  for (const [disk, manifest] of members) {
    const target = targets.get(disk)
    invariant(target !== undefined, 'every disk has a target')
    const restored = await restoreOfSet(disk, { manifest, target, options, context })
    disks.push(restored)
    const { untouchedTailBytes: tail } = restored
    if (tail === 0) continue
    const message = `disk ${disk} is larger than it was: ${tail} bytes after its end are what ${target.path} held before`
    emit({ type: 'warning', code: 'TARGET_LARGER', message })
  }
  const { name, xml, missing } = restoredDomain(description, await placesOf(targets))
  for (const what of missing) {
    const message = `the description of '${name}' names what was not backed up: ${what}`
    emit({ type: 'warning', code: 'NOT_IN_BACKUP', message })
  }
  await writeNew(domainXml, xml)
  return {
    operation: 'restore-domain',
    domain: name,
    domainXml,
    set: named.set?.id ?? null,
    disks,
    missing,
    seconds: (performance.now() - startedMs) / 1000,
  }
}

async function descriptionOf(
  { id, attachments }: Manifest,
  { repository }: Options,
): Promise<string> {
  const attachment = attachments.find(({ name }) => name === DOMAIN_XML_NAME)
  if (attachment === undefined) {
    throw new MoverError('ARGUMENT_INVALID', `manifest ${id} has no description of a domain`, {
      remedy: 'name one that was made of libvirt:DOMAIN, or leave out --domain-xml',
    })
  }
  await repository.store.refresh()
  return Buffer.from(await readAttachment(repository.store, attachment)).toString('utf8')
}

/** The manifests of the set by their disks. MANIFEST_NOT_FOUND where one of them is missing. */
async function membersOf(
  named: Manifest,
  repository: Repository,
): Promise<ReadonlyMap<string, Manifest>> {
  const { set } = named
  const all = set === null ? [named] : await repository.manifests()
  const members = new Map<string, Manifest>()
  for (const manifest of all) {
    if (manifest.set?.id !== set?.id) continue
    const disk = diskOfIdentity(manifest.source.identity)
    if (disk !== null) members.set(disk, manifest)
  }
  if (members.size === (set?.members ?? 1)) return members
  const found = [...members.keys()].join(', ') || 'none'
  throw new MoverError(
    'MANIFEST_NOT_FOUND',
    `of the ${set?.members ?? 1} disks of set ${set?.id ?? 'none'} these are there: ${found}`,
    { remedy: 'name a manifest of a whole set, or restore disk by disk without --domain-xml' },
  )
}

interface DiskRestore {
  readonly manifest: Manifest
  readonly target: DiskTarget
  readonly options: Options
  readonly context: JobContext
}

/** Says of which disk its events and its failure are. */
async function restoreOfSet(disk: string, request: DiskRestore): Promise<RestoreResult> {
  const { manifest, context } = request
  if (manifest.set === null) return restoreDisk(request)
  try {
    const emit = tellDisk(context.emit, disk)
    return await restoreDisk({ ...request, context: { ...context, emit } })
  } catch (error) {
    throw errorOfDisk(error, disk)
  }
}

async function restoreDisk({
  manifest,
  target: { path, format },
  options,
  context: { emit, signal },
}: DiskRestore): Promise<RestoreResult> {
  const { repository, force, readBack, workers, bytesInFlight, bytesPerSecond } = options
  const given = { force, readBack, workers, bytesInFlight, bytesPerSecond }
  const target = format === 'qcow2' ? `qcow2:${path}` : path
  const job = restore({ repository, manifest: manifest.id, target, signal, ...definedOnly(given) })

  await using running = job

  for await (const event of running.events) emit(event)
  return await running.result
}

/** An option that is there and undefined is another thing than one that is not there. */
function definedOnly<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const defined = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(defined) as { [K in keyof T]: Exclude<T[K], undefined> }
}

async function placesOf(
  targets: ReadonlyMap<string, DiskTarget>,
): Promise<ReadonlyMap<string, RestoredPlace>> {
  const places = new Map<string, RestoredPlace>()
  for (const [disk, { path, format }] of targets) {
    const isBlock = (await stat(path)).isBlockDevice()
    places.set(disk, { type: isBlock ? 'block' : 'file', path, format })
  }
  return places
}

const isImage = ({ format }: DiskTarget) => format === 'qcow2'

/** Before hours are spent on the disks: what was restored before a refusal would stand in the way of the next try. */
async function refuseUnfit(
  targets: ReadonlyMap<string, DiskTarget>,
  { domainXml, force = [] }: Options,
): Promise<void> {
  await refuseExisting(domainXml)
  const folder = await stat(dirname(resolve(domainXml))).catch(cause => {
    throw unwritable(domainXml, cause)
  })
  if (!folder.isDirectory()) throw unwritable(domainXml, null)
  if (force.includes('exists')) return
  for (const { path } of targets.values()) {
    const found = await stat(path).catch(() => null)
    if (found?.isFile() === true) throw targetExists(path)
  }
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (cause) {
    throw new MoverError('TARGET_UNUSABLE', `cannot make the folder ${path}`, {
      stage: 'open',
      remedy: 'with --domain-xml, TARGET is a folder for the disks',
      cause,
    })
  }
}

async function refuseExisting(path: string): Promise<void> {
  try {
    await stat(path)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return
    throw unwritable(path, error)
  }
  throw exists(path)
}

/** As a restored volume: whole under its name or not there, and durable before it is told. */
async function writeNew(path: string, text: string): Promise<void> {
  const partial = partialName(path)
  try {
    await writeDurableFile(NODE_DISK, { path: partial, bytes: Buffer.from(text) })
  } catch (error) {
    throw unwritable(path, error)
  }
  try {
    await linkTarget(partial, path)
  } catch (error) {
    await Promise.allSettled([unlink(partial)])
    throw isCode(error, 'TARGET_EXISTS') ? exists(path) : error
  }
}

function exists(path: string): MoverError {
  return new MoverError('TARGET_EXISTS', `${path} is there already`, {
    stage: 'open',
    remedy: 'name another file for the description',
  })
}

function unwritable(path: string, cause: unknown): MoverError {
  return new MoverError('TARGET_FAILED', `cannot write ${path}`, {
    stage: 'write',
    remedy: 'name a file in a folder that is there and may be written to',
    cause,
  })
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
