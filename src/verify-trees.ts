import { slotExtent, slotRunBytes, type SlotRun } from './core/chunk.js'
import { damageMessageOrThrow } from './core/damage-error.js'
import { digestHex, DIGEST_BYTES } from './core/digest.js'
import type { Extent } from './core/extent.js'
import { invariant } from './core/invariant.js'
import type { Manifest } from './core/manifest.js'
import { readTreePages } from './manifest-tree.js'
import { slotsDifferingFrom } from './manifest/tree-diff.js'
import { TreeReader, type PageDamage } from './manifest/tree-reader.js'
import { native } from './native/addon.js'
import { PLANNED_ROW_BYTES, WANTED_ROW_BYTES } from './native/batch.js'
import { isZeroRow, rowDigest, type SlotRows } from './native/slot-rows.js'
import { openDecodeJob, type DecodeJob } from './pipeline/decode-job.js'
import { decodeWindow } from './pipeline/decode-pipeline.js'
import { startProgressMeter, type MeterReading } from './pipeline/progress-meter.js'
import { eachWindow, WINDOW_SLOTS, type TakenWindow } from './pipeline/slot-window.js'
import { openWorkerPool, type WorkerPool } from './pipeline/worker-pool.js'
import { readAttachment } from './store/attachments.js'
import type { VerifiedParts, VerifyContext } from './verify.js'

/** What is damaged, by the digest of the chunk: the kind and name under which it is reported. */
type BadChunks = Map<string, { readonly kind: 'chunk' | 'pack'; readonly name: string }>

/**
 * Walks the manifests' trees and decodes each chunk they name once. Of a volume's second and later
 * manifests, only what differs from the one before is walked. Damage costs a second walk, which
 * finds every extent that it hits.
 */
export async function verifyTrees(
  manifests: readonly Manifest[],
  context: VerifyContext,
): Promise<VerifiedParts> {
  const totals = { packs: 0, pages: 0, chunks: 0, bytes: 0 }
  const bad: BadChunks = new Map()
  for (const group of groupsOf(manifests)) {
    await using decoding = openVerifyJob(group, context)
    const bytesTotal = group.reduce((sum, { bytes }) => sum + bytes.stored, 0)
    await using pool = openWorkerPool(bytesTotal, context.workers)
    using _meter = startProgressMeter(() => readingOf(decoding), {
      bytesTotal,
      emit: context.emit,
    })
    let before: Manifest | null = null
    for (const manifest of group) {
      const reader = countingReader(manifest, context, pages => (totals.pages += pages))
      const known = before?.volume === manifest.volume ? before : null
      const isWhole = await verifyTree(reader, manifest, known, { decoding, pool, bad, context })
      // What is shared with a damaged tree was not seen through it.
      before = isWhole ? manifest : null
    }
    const { chunks, decoded } = decoding.progress()
    totals.chunks += chunks
    totals.bytes += decoded
  }
  await verifyAttachments(manifests, context)
  if (bad.size > 0) await attribute(manifests, bad, context)
  return totals
}

/** Each once: the backups of a machine that stayed as it is share its description. */
async function verifyAttachments(
  manifests: readonly Manifest[],
  { repository, report, signal }: VerifyContext,
): Promise<void> {
  const checked = new Set<string>()
  for (const manifest of manifests) {
    for (const attachment of manifest.attachments) {
      const { digest } = attachment
      if (!checked.has(digest)) {
        checked.add(digest)
        try {
          await readAttachment(repository.store, attachment, { signal })
        } catch (error) {
          report.add('page', digest, damageMessageOrThrow(error))
        }
      }
      report.concern('page', digest, manifest)
    }
  }
}

interface Step {
  readonly decoding: DecodeJob
  readonly pool: WorkerPool
  readonly bad: BadChunks
  readonly context: VerifyContext
}

/** Decodes what `manifest` holds and `before` does not; false when a page of its tree is damaged. */
async function verifyTree(
  reader: TreeReader,
  manifest: Manifest,
  before: Manifest | null,
  step: Step,
): Promise<boolean> {
  const { report } = step.context
  let isWhole = true
  const onDamage = ({ digest, error, ...run }: PageDamage) => {
    isWhole = false
    report.add('page', digest, damageMessageOrThrow(error))
    report.hit('page', digest, { manifest: manifest.id, ...extentOf(manifest, run) })
  }
  const slots = async function* (): AsyncGenerator<SlotRows> {
    for await (const { first, count } of newRuns(reader, before, step.context)) {
      yield* reader.slots({ from: first, to: first + count, onDamage })
    }
  }
  await eachWindow(slots(), WINDOW_SLOTS, {
    work: window => proveChunks(window, step),
    stop: () => step.decoding.cancel(),
  })
  return isWhole
}

/** The slots in which a tree differs from the one before, whose own slots were looked at. */
async function* newRuns(
  reader: TreeReader,
  before: Manifest | null,
  context: VerifyContext,
): AsyncGenerator<SlotRun> {
  const whole = { first: 0, count: reader.slotCount }
  if (before === null) {
    yield whole
    return
  }
  try {
    yield* slotsDifferingFrom(
      reader,
      countingReader(before, context, () => {}),
    )
  } catch (error) {
    damageMessageOrThrow(error)
    // The difference cannot be told: then all of it is looked at, and the damage found again.
    yield whole
  }
}

async function proveChunks(
  { wanted }: TakenWindow,
  { decoding, pool, bad, context }: Step,
): Promise<void> {
  if (wanted.length === 0) return
  const { missing, damaged } = await decodeWindow(wanted, {
    job: decoding.job,
    pool,
    signal: context.signal,
  })
  for (let at = 0; at < missing.length; at += WANTED_ROW_BYTES) {
    const digest = digestHex(missing.subarray(at + 8, at + 8 + DIGEST_BYTES))
    bad.set(digest, { kind: 'chunk', name: digest })
    context.report.add('chunk', digest, 'no index segment knows this chunk')
  }
  for (const rows of damaged) {
    for (let at = 0; at < rows.length; at += PLANNED_ROW_BYTES) {
      const row = rows.subarray(at, at + PLANNED_ROW_BYTES)
      const number = new DataView(row.buffer, row.byteOffset).getUint32(40, true)
      const pack = native(addon => addon.packName(decoding.job, number))
      bad.set(digestHex(row.subarray(8, 8 + DIGEST_BYTES)), { kind: 'pack', name: pack })
      context.report.add(
        'pack',
        pack,
        'chunks of it are lost: it is gone, cut or cannot be read, or they are not what their digests name',
      )
    }
  }
}

/** The second walk: which extents of which manifests the damaged chunks hit. */
async function attribute(
  manifests: readonly Manifest[],
  bad: BadChunks,
  context: VerifyContext,
): Promise<void> {
  for (const manifest of manifests) {
    const reader = countingReader(manifest, context, () => {})
    // Damaged pages were reported by the first walk.
    for await (const { first, count, rows } of reader.slots({ onDamage: () => {} })) {
      for (let position = 0; rows !== null && position < count; position += 1) {
        if (isZeroRow(rows, position)) continue
        const damage = bad.get(digestHex(rowDigest(rows, position)))
        if (damage === undefined) continue
        const extent = slotExtent(manifest, first + position)
        context.report.hit(damage.kind, damage.name, { manifest: manifest.id, ...extent })
      }
    }
  }
}

function extentOf(manifest: Manifest, { first, count }: SlotRun): Extent {
  return { offset: first * manifest.chunkBytes, length: slotRunBytes(manifest, { first, count }) }
}

function openVerifyJob(
  group: readonly Manifest[],
  { repository, bytesInFlight, bytesPerSecond, signal }: VerifyContext,
): DecodeJob {
  const [first] = group
  invariant(first !== undefined, 'a group has a manifest')
  return openDecodeJob({
    index: repository.store.index,
    packsRoot: repository.store.packsRoot,
    target: null,
    geometry: { volumeBytes: first.volumeBytes, chunkBytes: first.chunkBytes },
    verifies: true,
    bytesInFlight,
    bytesPerSecond,
    signal,
  })
}

function countingReader(
  manifest: Manifest,
  { repository, signal }: VerifyContext,
  count: (pages: number) => void,
): TreeReader {
  return new TreeReader({
    geometry: manifest,
    tree: manifest.tree,
    readPages: digests => {
      count(digests.length)
      return readTreePages(repository.store, digests, { signal })
    },
  })
}

/** Manifests cut alike share a native job, which looks at each chunk once; oldest first within a volume. */
function groupsOf(manifests: readonly Manifest[]): Iterable<Manifest[]> {
  const groups = new Map<string, Manifest[]>()
  for (const manifest of manifests.toSorted(byVolume)) {
    const key = `${manifest.chunkBytes} ${manifest.volumeBytes}`
    groups.set(key, [...(groups.get(key) ?? []), manifest])
  }
  return groups.values()
}

function byVolume(a: Manifest, b: Manifest): number {
  if (a.volume === b.volume) return a.sequence - b.sequence
  return a.volume < b.volume ? -1 : 1
}

function readingOf(decoding: DecodeJob): MeterReading {
  const waits = decoding.progress()
  return { bytesDone: waits.decoded, waits }
}
