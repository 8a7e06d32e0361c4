import type { AbortOptions } from './core/abort.js'
import { withBudgetDefaults, type BudgetOptions } from './core/budgets.js'
import { slotRunBytes, type Geometry } from './core/chunk.js'
import { MoverError, retold } from './core/errors.js'
import { startJob, type Job } from './core/job.js'
import type { Manifest } from './core/manifest.js'
import type { MoverEvent } from './core/progress.js'
import type { SlotSet } from './core/slot-set.js'
import { beginJobSession } from './job-session.js'
import { openTree } from './manifest-tree.js'
import { partsByState } from './manifest/compare-rows.js'
import { missingChanges } from './manifest/doubts.js'
import type { TreeReader } from './manifest/tree-reader.js'
import type { SlotRows } from './native/slot-rows.js'
import { WINDOW_SLOTS } from './pipeline/slot-window.js'
import { refuseMachineTarget } from './open-machine.js'
import type { Repository } from './repository.js'
import {
  differingSlots,
  readBackTarget,
  slotsSince,
  type Comparison,
  type OnUnchanged,
} from './restore-compare.js'
import { restoreSlots, type RestoredSlots } from './restore-slots.js'
import { openTarget } from './target/open-target.js'
import type { ForceReason } from './target/target-guard.js'
import type { Target } from './target/target.js'

export interface RestoreOptions extends AbortOptions, BudgetOptions {
  readonly repository: Repository
  /** A manifest reference. */
  readonly manifest: string
  /**
   * A file that is made, one that is written over with `exists`, a block device, the URI of an NBD volume,
   * or `qcow2:FILE`, which is made or written into as a file is.
   */
  readonly target: string
  /** The state that the target is in, as a manifest reference; `auto` reads the target to find out. */
  readonly onto?: string | null
  /** Lifts one refusal each. */
  readonly force?: readonly ForceReason[]
  /** WWID or serial that a block target must have. */
  readonly identity?: string | null
  /** Reads the target past the cache after the flush, and compares. */
  readonly readBack?: boolean
  /** Compares and plans only: nothing is written. */
  readonly dryRun?: boolean
}

export interface RestoreResult {
  readonly operation: 'restore'
  readonly manifest: string
  readonly volume: string
  readonly target: string
  /** The reference as it was given. */
  readonly onto: string | null
  readonly bytes: RestoredBytes
  /** Bytes of a larger device or disk beyond the volume, which stay as they were. */
  readonly untouchedTailBytes: number
  readonly readBack: boolean
  readonly dryRun: boolean
  readonly seconds: number
}

/** Bytes of the volume by what was done: volume = written + zero + unchanged. */
export interface RestoredBytes {
  readonly volume: number
  /** Stored bytes read from packs. */
  readonly read: number
  readonly written: number
  /** Made or known to be zero. */
  readonly zero: number
  /** Left alone, because the target held them already. */
  readonly unchanged: number
  /** Read from the target to compare. */
  readonly compared: number
}

/** What the steps of one restore hand each other. */
export interface RestoreContext extends Required<Omit<RestoreOptions, 'signal'>> {
  readonly signal: AbortSignal
  readonly emit: (event: MoverEvent) => void
}

/**
 * Manifest → plan → pipeline → target. Every chunk is compared with its digest before it is
 * written, and the result is given only when the target is flushed. After a kill, the same
 * command may be given again.
 */
export function restore({ signal, ...options }: RestoreOptions): Job<RestoreResult> {
  return startJob(context => run({ ...context, ...withDefaults(options) }), { signal })
}

async function run(context: RestoreContext): Promise<RestoreResult> {
  const startedMs = performance.now()
  const { repository, signal, emit } = context
  refuseMachineTarget(context.target)
  emit({ type: 'stage', stage: 'plan' })
  await using _session = await beginJobSession(repository, { kind: 'read' }, emit)
  const manifest = await repository.resolve(context.manifest, null, { signal })
  await warnOfMissing(manifest, context)
  // After the manifest is known: a backup may commit in between, and its chunks must be found.
  await repository.store.refresh({ signal })
  await using target = await openTarget(context.target, {
    volumeBytes: manifest.volumeBytes,
    keeps: context.onto !== null,
    force: context.force,
    identity: context.identity,
    repositoryPath: repository.backend.localRoot,
    signal,
  })
  const comparison = { manifest, target, context }
  const plan = await planRestore(comparison)
  const bytes = context.dryRun
    ? await wouldRestore(plan, manifest)
    : await restoreAndFlush(plan, comparison)
  const { volumeBytes } = manifest
  return {
    operation: 'restore',
    manifest: manifest.id,
    volume: manifest.volume,
    target: target.name,
    onto: context.onto,
    bytes: {
      volume: volumeBytes,
      ...bytes,
      unchanged: volumeBytes - bytes.written - bytes.zero,
      compared: plan.comparedBytes,
    },
    untouchedTailBytes: target.kind === 'file' || target.isNew ? 0 : target.bytes - volumeBytes,
    readBack: context.readBack && !context.dryRun,
    dryRun: context.dryRun,
    seconds: (performance.now() - startedMs) / 1000,
  }
}

async function warnOfMissing(
  manifest: Manifest,
  { repository, signal, emit }: RestoreContext,
): Promise<void> {
  for (const warning of await missingChanges(repository, [manifest], { signal })) emit(warning)
}

/** What will be written, and what is known without reading more. */
interface RestorePlan {
  readonly wanted: (onUnchanged: OnUnchanged | null) => AsyncIterable<SlotRows>
  readonly bytesTotal: number
  readonly comparedBytes: number
  readonly windowSlots: number
}

/** Slots that a comparison finds and that are decoded together: enough to read packs in order. */
const DIFFERING_WINDOW_SLOTS = 2048

async function planRestore(comparison: Comparison): Promise<RestorePlan> {
  const { manifest, target, context } = comparison
  const { repository, signal, onto } = context
  const tree = openTree(repository.store, manifest)
  const { volumeBytes } = manifest
  if (onto === null)
    return {
      wanted: () => tree.slots(),
      bytesTotal: volumeBytes,
      comparedBytes: 0,
      windowSlots: WINDOW_SLOTS,
    }
  if (onto === 'auto') {
    const comparedBytes = Math.min(volumeBytes, target.bytes)
    return {
      wanted: onUnchanged => differingSlots(comparison, target.bytes, onUnchanged),
      bytesTotal: volumeBytes,
      comparedBytes,
      // Small, so that it is decoded while the target is still being read.
      windowSlots: DIFFERING_WINDOW_SLOTS,
    }
  }
  const state = await repository.resolve(onto, manifest.volume, { signal })
  // What it misses is not among the slots in which the two differ.
  if (state.id !== manifest.id) await warnOfMissing(state, context)
  await repository.store.refresh({ signal })
  const { slots, comparedBytes } = await slotsSince(state, comparison)
  const bytesTotal = Math.min(slots.size * manifest.chunkBytes, volumeBytes)
  const windowSlots = WINDOW_SLOTS
  return { wanted: () => slotsOf(tree, slots), bytesTotal, comparedBytes, windowSlots }
}

async function* slotsOf(tree: TreeReader, slots: SlotSet): AsyncGenerator<SlotRows> {
  for (const { first, count } of slots.runs()) yield* tree.slots({ from: first, to: first + count })
}

async function restoreAndFlush(plan: RestorePlan, comparison: Comparison): Promise<RestoredSlots> {
  const { manifest, target, context } = comparison
  try {
    await target.prepare(manifest.volumeBytes)
    context.emit({ type: 'stage', stage: 'write' })
    return await writeTarget(plan, comparison)
  } catch (error) {
    throw target.isNew || !(error instanceof MoverError) ? error : leftMixed(error, target)
  }
}

/** The error of a restore that had begun to change what was there. */
function leftMixed(error: MoverError, { name }: Target): MoverError {
  const mixed = `${name} holds a mixture until a restore to it has ended`
  return retold(error, { message: `${error.message}; ${mixed}` })
}

async function writeTarget(plan: RestorePlan, comparison: Comparison): Promise<RestoredSlots> {
  const { manifest, target, context } = comparison
  const { emit } = context
  let unchangedBytes = 0
  const wanted = plan.wanted(bytes => (unchangedBytes += bytes))
  const restored = await restoreSlots({
    manifest,
    target,
    wanted,
    windowSlots: plan.windowSlots,
    bytesTotal: plan.bytesTotal,
    unchangedBytes: () => unchangedBytes,
    context,
  })
  emit({ type: 'stage', stage: 'flush' })
  await target.flush()
  if (context.readBack) {
    emit({ type: 'stage', stage: 'verify' })
    await readBackTarget(comparison)
  }
  await target.finish(manifest.volumeBytes)
  return restored
}

/** The dry run: reads what a restore would read of the target, and writes nothing. */
async function wouldRestore(plan: RestorePlan, geometry: Geometry): Promise<RestoredSlots> {
  let zero = 0
  let written = 0
  for await (const run of plan.wanted(null)) {
    for (const part of partsByState(run)) {
      if (part.isZero) zero += slotRunBytes(geometry, part)
      else written += slotRunBytes(geometry, part)
    }
  }
  return { read: 0, written, zero }
}

/** Defaults are applied here, once. */
function withDefaults(
  options: Omit<RestoreOptions, 'signal'>,
): Omit<RestoreContext, 'signal' | 'emit'> {
  return {
    ...options,
    onto: options.onto ?? null,
    force: options.force ?? [],
    identity: options.identity ?? null,
    readBack: options.readBack ?? false,
    ...withBudgetDefaults(options),
    dryRun: options.dryRun ?? false,
  }
}
