import { auditSource, type AuditOutcome } from './backup-audit.js'
import { commitBackup } from './backup-commit.js'
import { planOnParent, type CarriedFrom } from './backup-parent.js'
import type { AbortOptions } from './core/abort.js'
import { withBudgetDefaults, type BudgetOptions } from './core/budgets.js'
import type { Geometry } from './core/chunk.js'
import { DisposalStack } from './core/disposal-stack.js'
import { MoverError } from './core/errors.js'
import { invariant } from './core/invariant.js'
import { startJob, type Job } from './core/job.js'
import type { BackupMode, BackupSet, Manifest } from './core/manifest.js'
import type { ByteOutcome, MoverEvent } from './core/progress.js'
import { beginJobSession } from './job-session.js'
import { labelsProblem } from './manifest/manifest-check.js'
import { TreeWriter, type FinishedTree } from './manifest/tree-writer.js'
import { encodeProgress } from './native/encode-progress.js'
import { PROGRAM_VERSION } from './native/program-version.js'
import { encodeRuns } from './pipeline/encode-pipeline.js'
import { startProgressMeter } from './pipeline/progress-meter.js'
import { openWorkerPool } from './pipeline/worker-pool.js'
import type { AuditPolicy } from './plan/audit-plan.js'
import type { BackupPlan } from './plan/backup-plan.js'
import type { ParentChoice } from './plan/parent-choice.js'
import type { Repository } from './repository.js'
import type { ChangeSource } from './source/change-source.js'
import { looksLikeQcow2 } from './source/looks-like-qcow2.js'
import { openSource } from './source/open-source.js'
import type { Source } from './source/source.js'
import { attachmentsProblem, putAttachments, type AttachedBytes } from './store/attachments.js'
import { ChunkWriter } from './store/chunk-writer.js'

export interface BackupOptions extends AbortOptions, BudgetOptions {
  /** A path, `qcow2:FILE`, the URI of an NBD volume, or a source that the caller opened and keeps. */
  readonly source: string | Source
  readonly repository: Repository
  /** Name of the volume: 1 to 1,024 bytes of UTF-8. */
  readonly volume: string
  /** What changed since the parent; without it, a rescan finds out. */
  readonly changes?: ChangeSource | null
  /** A manifest reference; without it, `changes.since` or the newest manifest of the volume. */
  readonly parent?: string | null
  /** Name of the checkpoint that this backup stands for, 1 to 1,024 bytes: a later change map may count from it. */
  readonly checkpoint?: string | null
  /** Reads everything and builds on nothing. */
  readonly full?: boolean
  readonly audit?: AuditPolicy
  /** At most 64; names of 1 to 128 bytes, values of up to 1,024. */
  readonly tags?: Readonly<Record<string, string>>
  /** Names the backups of one machine that were taken at one moment. */
  readonly set?: BackupSet | null
  /** At most 16, of up to 2 MiB, each with a name of its own: what describes the volume's machine. */
  readonly attachments?: readonly AttachedBytes[]
  /** Reads the holes of a file instead of taking them for zeroes. */
  readonly readHoles?: boolean
  /** Plans only: nothing is read of the volume and nothing is written. */
  readonly dryRun?: boolean
}

export interface BackupResult {
  readonly operation: 'backup'
  readonly volume: string
  /** Id of the manifest; null of a dry run. */
  readonly manifest: string | null
  readonly root: string | null
  readonly parent: string | null
  readonly mode: BackupMode
  readonly requested: BackupMode
  /** Why the mode is not the requested one. */
  readonly reason: string | null
  readonly bytes: ByteOutcome
  readonly audit: AuditOutcome
  readonly checkpoint: string | null
  readonly packs: number
  readonly dryRun: boolean
  readonly seconds: number
  readonly writer: string
}

type Request = Required<Omit<BackupOptions, 'signal' | 'source'>>

/** What the steps of one backup hand each other. */
export interface BackupContext extends Request {
  readonly signal: AbortSignal
  readonly emit: (event: MoverEvent) => void
}

/**
 * Source → plan → pipeline → store → manifest. The manifest is committed last: until it is there,
 * the backup has not happened, and whatever an abort leaves in the store is only unused.
 */
export function backup({ signal, source, ...options }: BackupOptions): Job<BackupResult> {
  return startJob(
    async context => {
      const request = { ...context, ...withDefaults(options) }
      if (typeof source !== 'string') return run(source, request)
      await using opened = await openSource(source, { signal: context.signal })
      await warnOfImage(opened, context.emit)
      return await run(opened, request)
    },
    { signal },
  )
}

/** What is named by its path alone is a raw volume, whatever a guest wrote to it. */
async function warnOfImage(source: Source, emit: BackupContext['emit']): Promise<void> {
  if (!(await looksLikeQcow2(source))) return
  const { name } = source
  const message = `${name} begins as a qcow2 image and is backed up as it is; its disk is qcow2:${name}`
  emit({ type: 'warning', code: 'QCOW2_AS_RAW', message })
}

async function run(source: Source, context: BackupContext): Promise<BackupResult> {
  const startedMs = performance.now()
  const { repository, signal, emit } = context
  emit({ type: 'stage', stage: 'plan' })
  const geometry = { volumeBytes: source.volumeBytes, chunkBytes: repository.defaults.chunkBytes }
  await using held = new DisposalStack()
  const planned = await planOnParent(source, geometry, { ...context, held })
  const { choice, plan, carried, checkUnchanged } = planned
  if (context.dryRun) return resultOf({ choice, plan, context, startedMs, written: null })

  await using session = await beginJobSession(
    repository,
    { kind: 'write', parent: choice.parent?.id ?? null },
    emit,
  )
  await using writer = new ChunkWriter({
    store: repository.store,
    repositoryId: repository.id,
    tempPrefix: session.tempPrefix,
    source: source.handle,
    geometry,
    ...repository.defaults,
    bytesInFlight: context.bytesInFlight,
    bytesPerSecond: context.bytesPerSecond ?? 0,
  })
  const { tree, bytes } = await store(plan, { writer, carried, geometry, context })
  const attachments = await putAttachments(writer, context.attachments)
  // What is in memory becomes durable while the audit reads; nothing is published before it has held.
  const auditing = auditSource({ source, plan, carried, geometry, context, checkUnchanged })
  const [audited, sealed] = await Promise.allSettled([auditing, writer.seal({ signal })])
  const audit = valueOf(audited)
  valueOf(sealed)
  await checkUnchanged()

  emit({ type: 'stage', stage: 'commit' })
  await writer.flush({ signal })
  const manifest = await commitBackup({
    source,
    geometry,
    session,
    writer,
    tree,
    bytes,
    attachments,
    audit,
    choice,
    context,
  })
  return resultOf({ choice, plan, context, startedMs, written: { manifest, audit } })
}

interface StoreParts {
  readonly writer: ChunkWriter
  readonly carried: CarriedFrom | null
  readonly geometry: Geometry
  readonly context: BackupContext
}

/** Reads what the plan says, stores what is new, and accounts for every byte of the volume. */
async function store(
  plan: BackupPlan,
  parts: StoreParts,
): Promise<{ tree: FinishedTree; bytes: ByteOutcome }> {
  const { writer, geometry, context } = parts
  const { signal, emit } = context
  emit({ type: 'stage', stage: 'read' })
  const abort = () => writer.cancel()
  signal.addEventListener('abort', abort)
  try {
    const reading = () => {
      const waits = encodeProgress(writer.job)
      return { bytesDone: waits.read, waits, bytes: outcomeOf(plan, writer) }
    }
    using _meter = startProgressMeter(reading, { bytesTotal: plan.readBytes, emit })
    const tree = await growTree(plan, parts)
    const bytes = outcomeOf(plan, writer)
    const counted = bytes.carried + bytes.zero + bytes.deduplicated + bytes.stored
    invariant(counted === geometry.volumeBytes, 'every byte of the volume has one outcome')
    return { tree, bytes }
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** The tree grows in slot order, as the digests come: they cross the seam, chunks never. */
async function growTree(
  plan: BackupPlan,
  { writer, carried, geometry, context }: StoreParts,
): Promise<FinishedTree> {
  const { workers, signal } = context
  const tree = new TreeWriter({ geometry, store: writer, parent: carried?.tree ?? null })
  await using pool = openWorkerPool(plan.readBytes, workers)
  const encoded = encodeRuns(plan.readRuns(), {
    job: writer.job,
    pool,
    geometry,
    store: true,
    bytesTotal: plan.readBytes,
    signal,
  })
  let slot = 0
  for await (const run of encoded) {
    await keepUnread(tree, plan, { from: slot, until: run.first })
    await tree.putSlots(run.first, run.count, run.rows)
    slot = run.first + run.count
    await writer.publishSometimes({ signal })
  }
  await keepUnread(tree, plan, { from: slot, until: plan.slotCount })
  // Awaited while the pool is there: a failure must not come up while it is being closed.
  return await tree.finish()
}

/** Between what was read lie slots that are zero, or the parent's. */
async function keepUnread(
  tree: TreeWriter,
  plan: BackupPlan,
  { from, until }: { readonly from: number; readonly until: number },
): Promise<void> {
  for (const { action, first, count } of plan.unreadRuns(from, until)) {
    if (action === 'zero') await tree.zeroSlots(first, count)
    else await tree.carrySlots(first, count)
  }
}

function outcomeOf(plan: BackupPlan, writer: ChunkWriter): ByteOutcome {
  const { read, zero, known, stored } = encodeProgress(writer.job)
  return {
    volume: plan.volumeBytes,
    read,
    carried: plan.carriedBytes,
    zero: plan.zeroBytes + zero,
    deduplicated: known,
    stored,
    written: writer.added.bytes,
  }
}

function resultOf(parts: {
  readonly choice: ParentChoice
  readonly plan: BackupPlan
  readonly context: BackupContext
  readonly startedMs: number
  readonly written: {
    readonly manifest: Manifest & { written: number }
    readonly audit: AuditOutcome
  } | null
}): BackupResult {
  const { choice, plan, context, startedMs, written } = parts
  const planned = {
    volume: plan.volumeBytes,
    read: plan.readBytes,
    carried: plan.carriedBytes,
    zero: plan.zeroBytes,
    deduplicated: 0,
    stored: 0,
    written: 0,
  }
  const manifest = written?.manifest ?? null
  return {
    operation: 'backup',
    volume: context.volume,
    manifest: manifest?.id ?? null,
    root: manifest?.root ?? null,
    parent: choice.parent?.id ?? null,
    mode: choice.mode,
    requested: choice.requested,
    reason: choice.reason,
    bytes: manifest === null ? planned : { ...manifest.bytes, written: manifest.written },
    audit: written?.audit ?? { slots: 0, bytes: 0 },
    checkpoint: context.checkpoint,
    packs: manifest?.added.packs ?? 0,
    dryRun: context.dryRun,
    seconds: (performance.now() - startedMs) / 1000,
    writer: PROGRAM_VERSION,
  }
}

function valueOf<T>(outcome: PromiseSettledResult<T>): T {
  if (outcome.status === 'rejected') throw outcome.reason
  return outcome.value
}

/** Defaults are applied here, once; what no manifest could record is refused before anything is read. */
function withDefaults(options: Omit<BackupOptions, 'signal' | 'source'>): Request {
  const { volume, checkpoint = null, tags = {}, set = null, attachments = [] } = options
  const problem =
    labelsProblem({ volume, checkpoint, tags, set }) ?? attachmentsProblem(attachments)
  if (problem !== null) throw new MoverError('ARGUMENT_INVALID', problem, { stage: 'plan' })
  return {
    ...options,
    changes: options.changes ?? null,
    parent: options.parent ?? null,
    checkpoint,
    full: options.full ?? false,
    audit: options.audit ?? 'default',
    ...withBudgetDefaults(options),
    tags,
    set,
    attachments,
    readHoles: options.readHoles ?? false,
    dryRun: options.dryRun ?? false,
  }
}
