import {
  joinSlots,
  slotCount,
  slotExtent,
  slotRunBytes,
  type Geometry,
  type SlotRun,
} from './core/chunk.js'
import { errorKind, MoverError } from './core/errors.js'
import type { Manifest } from './core/manifest.js'
import { randomFraction } from './core/random-fraction.js'
import { SlotSet } from './core/slot-set.js'
import { openTree } from './manifest-tree.js'
import { differingRuns, rowsAgree } from './manifest/compare-rows.js'
import { slotsDifferingFrom } from './manifest/tree-diff.js'
import { rowsOf } from './native/slot-rows.js'
import type { SlotRows } from './native/slot-rows.js'
import type { EncodedRun } from './pipeline/encode-pipeline.js'
import { readSlots } from './pipeline/read-slots.js'
import { auditSample } from './plan/audit-plan.js'
import type { RestoreContext } from './restore.js'
import type { Target } from './target/target.js'

/** What is to be compared, and with what budgets. */
export interface Comparison {
  readonly manifest: Manifest
  readonly target: Target
  readonly context: RestoreContext
}

/**
 * The slots in which the manifest differs from the state that the target is said to be in. A
 * sample of those that both states share is read first: throws TARGET_STATE, and nothing was
 * written, when the target is not in that state.
 */
export async function slotsSince(
  onto: Manifest,
  comparison: Comparison,
): Promise<{ slots: SlotSet; comparedBytes: number }> {
  const { manifest, target, context } = comparison
  const { repository } = context
  refuseOtherSize(onto, manifest, target)
  const geometry: Geometry = manifest
  const slots = new SlotSet(slotCount(geometry))
  const wanted = openTree(repository.store, manifest)
  const state = openTree(repository.store, onto)
  for await (const run of slotsDifferingFrom(wanted, state)) slots.addRun(run)
  const sample = auditSample({ excluded: slots, policy: 'default', random: randomFraction })
  if (sample.length === 0) return { slots, comparedBytes: 0 }
  const expected = await wanted.lookup(sample)
  const found: Uint8Array[] = []
  for await (const { rows } of readTarget(joinSlots(sample), comparison, context.emit))
    found.push(rows)
  const rows = Buffer.concat(found)
  const wrong = sample.find((_, position) => !rowsAgree(rows, expected, position))
  if (wrong !== undefined) throw otherState(onto, target, slotExtent(geometry, wrong).offset)
  const bytes = sample.reduce((sum, slot) => sum + slotExtent(geometry, slot).length, 0)
  return { slots, comparedBytes: bytes }
}

/** Is told of bytes that the target holds already; where nobody wants to know, the reading is the progress. */
export type OnUnchanged = (bytes: number) => void

/**
 * Reads the first `readableBytes` of the target and yields what differs from the manifest, and
 * then all slots beyond: what the target holds is not trusted at all.
 */
export async function* differingSlots(
  comparison: Comparison,
  readableBytes: number,
  onUnchanged: OnUnchanged | null,
): AsyncGenerator<SlotRows> {
  const { manifest, context } = comparison
  const geometry: Geometry = manifest
  const tree = openTree(context.repository.store, manifest)
  const count =
    readableBytes >= geometry.volumeBytes
      ? slotCount(geometry)
      : Math.floor(readableBytes / geometry.chunkBytes)
  const emit = onUnchanged === null ? context.emit : null
  for await (const read of readTarget([{ first: 0, count }], comparison, emit)) {
    let unchangedBytes = slotRunBytes(geometry, read)
    const range = { from: read.first, to: read.first + read.count }
    for await (const wanted of tree.slots(range)) {
      const found = rowsOf(read.rows, wanted.first - read.first, wanted.count)
      for (const differing of differingRuns(wanted, found)) {
        unchangedBytes -= slotRunBytes(geometry, differing)
        yield differing
      }
    }
    onUnchanged?.(unchangedBytes)
  }
  yield* tree.slots({ from: count, to: slotCount(geometry) })
}

/** Reads the target past the cache and compares every byte's digest; throws READBACK_MISMATCH. */
export async function readBackTarget(comparison: Comparison): Promise<void> {
  const { volumeBytes } = comparison.manifest
  for await (const { first } of differingSlots(comparison, volumeBytes, null)) {
    const { offset } = slotExtent(comparison.manifest, first)
    throw new MoverError(
      'READBACK_MISMATCH',
      `${comparison.target.name} does not hold what was written to it, first at byte ${offset}`,
      {
        stage: 'verify',
        offset,
        remedy: 'do not use this target: the device, its cable or its driver loses writes',
      },
    )
  }
}

/** Reads slots of the target; a failure of it is the target's, though it is read as a source is. */
async function* readTarget(
  runs: readonly SlotRun[],
  { manifest, target, context }: Comparison,
  emit: RestoreContext['emit'] | null,
): AsyncGenerator<EncodedRun> {
  const { repository, signal } = context
  const geometry = { volumeBytes: manifest.volumeBytes, chunkBytes: manifest.chunkBytes }
  try {
    const { index } = repository.store
    const options = { device: target.handle, geometry, index, budgets: context, emit, signal }
    yield* readSlots(runs, options)
  } catch (error) {
    if (!(error instanceof MoverError) || errorKind(error.code) !== 'source') throw error
    const { offset, stage, message } = error
    throw new MoverError('TARGET_FAILED', `cannot read ${target.name} to compare it: ${message}`, {
      stage,
      offset,
      cause: error,
    })
  }
}

function refuseOtherSize(onto: Manifest, manifest: Manifest, target: Target): void {
  if (onto.chunkBytes !== manifest.chunkBytes) {
    throw new MoverError('TARGET_STATE', 'the two states are cut into chunks of different size', {
      stage: 'plan',
      remedy: 'use --onto auto',
    })
  }
  const sizes = [onto.volumeBytes, manifest.volumeBytes]
  // The wanted size too: a restore that was killed may have grown the file already.
  if (target.kind === 'file' ? sizes.includes(target.bytes) : target.bytes >= onto.volumeBytes)
    return
  throw otherState(onto, target, Math.min(target.bytes, ...sizes))
}

function otherState(onto: Manifest, target: Target, offset: number): MoverError {
  return new MoverError(
    'TARGET_STATE',
    `${target.name} is not in the state of manifest ${onto.id}: it differs at byte ${offset}; nothing was written`,
    {
      stage: 'plan',
      offset,
      remedy: 'use --onto auto, which reads the target and writes what differs, or restore in full',
    },
  )
}
