import { join } from 'node:path'
import type { ListedObject } from './backend/backend.js'
import { objectId, packName } from './backend/object-name.js'
import { throwIfAborted } from './core/abort.js'
import { damageMessageOrThrow } from './core/damage-error.js'
import { MoverError } from './core/errors.js'
import { native } from './native/addon.js'
import { startProgressMeter } from './pipeline/progress-meter.js'
import { packsOfSegment } from './store/segment-packs.js'
import type { VerifiedParts, VerifyContext } from './verify.js'

/** Two read ahead while two are hashed; libuv has four threads. */
const PACKS_AT_ONCE = 4

/**
 * Compares whole packs with the digests that name them, which needs no key and no decoding, and looks
 * for those that the segments name and that are gone.
 */
export async function verifyPacks(
  segments: readonly string[],
  context: VerifyContext,
): Promise<VerifiedParts> {
  const { signal } = context
  const totals = { packs: 0, bytes: 0 }
  // Segments first: a pack is there before a segment names it, and a segment may go any time.
  const named = await namedPacks(segments, context)
  const packs = await listPacks(context)
  using _meter = meterOfPacks(packs, () => totals.bytes, context)
  const listed = new Set<string>()
  const underWay = new Set<Promise<void>>()
  const failures: unknown[] = []
  for (const { name, bytes } of packs) {
    if (failures.length > 0 || signal.aborted) break
    const check = verifyPack(name, context)
      .then(() => void (totals.bytes += bytes))
      .catch((error: unknown) => void failures.push(error))
      .finally(() => underWay.delete(check))
    underWay.add(check)
    listed.add(objectId(name))
    totals.packs += 1
    if (underWay.size >= PACKS_AT_ONCE) await Promise.race(underWay)
  }
  await Promise.all(underWay)
  if (failures.length > 0) throw failures[0]
  throwIfAborted({ signal })
  await findMissing(named, { listed, context })
  return { ...totals, pages: 0, chunks: 0 }
}

/** All packs that there are: their sizes are what a verification of packs is measured by. */
export async function listPacks({ repository, signal }: VerifyContext): Promise<ListedObject[]> {
  const packs: ListedObject[] = []
  for await (const pack of repository.backend.list('packs/', { signal })) packs.push(pack)
  return packs
}

/** Tells how many of the packs' bytes are done. */
export function meterOfPacks(
  packs: readonly ListedObject[],
  bytesDone: () => number,
  { emit }: VerifyContext,
): Disposable {
  const bytesTotal = packs.reduce((sum, { bytes }) => sum + bytes, 0)
  return startProgressMeter(() => ({ bytesDone: bytesDone(), waits: null }), { bytesTotal, emit })
}

async function verifyPack(
  name: string,
  { repository, report }: Pick<VerifyContext, 'repository' | 'report'>,
): Promise<void> {
  try {
    await native(
      addon => addon.checkPack(join(repository.store.root, name), objectId(name)),
      'verify',
    )
  } catch (error) {
    report.add('pack', objectId(name), damageMessageOrThrow(error))
  }
}

/** Ids of the packs that the segments name. */
async function namedPacks(
  segments: readonly string[],
  { repository, signal }: VerifyContext,
): Promise<ReadonlySet<string>> {
  const named = new Set<string>()
  for (const segment of segments) {
    try {
      const ids = await packsOfSegment(repository.backend, segment, { signal })
      for (const id of ids) named.add(id)
    } catch (error) {
      // Merged away since it was checked: this was the last moment at which it could be asked.
      if (!(error instanceof MoverError) || error.code !== 'OBJECT_NOT_FOUND') throw error
    }
  }
  return named
}

async function findMissing(
  named: ReadonlySet<string>,
  { listed, context }: { readonly listed: ReadonlySet<string>; readonly context: VerifyContext },
): Promise<void> {
  const { repository, report, signal } = context
  for (const id of named) {
    if (listed.has(id) || (await repository.backend.has(packName(id), { signal }))) continue
    report.add('pack', id, 'the index names it, and it is not there')
  }
}
