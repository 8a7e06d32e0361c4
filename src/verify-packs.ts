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
  const bytesTotal = [...named.values()].reduce((sum, bytes) => sum + bytes, 0)
  using _meter = meterOf(bytesTotal, () => totals.bytes, context)
  const listed = new Set<string>()
  const underWay = new Set<Promise<void>>()
  const failures: unknown[] = []
  try {
    // Read while they are listed: the disk has something to do from the first folder on.
    for await (const { name, bytes } of context.repository.backend.list('packs/', { signal })) {
      if (failures.length > 0) break
      const check = verifyPack(name, context)
        .then(() => void (totals.bytes += bytes))
        .catch((error: unknown) => void failures.push(error))
        .finally(() => underWay.delete(check))
      underWay.add(check)
      listed.add(objectId(name))
      totals.packs += 1
      if (underWay.size >= PACKS_AT_ONCE) await Promise.race(underWay)
    }
  } finally {
    await Promise.all(underWay)
  }
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
  context: VerifyContext,
): Disposable {
  return meterOf(
    packs.reduce((sum, { bytes }) => sum + bytes, 0),
    bytesDone,
    context,
  )
}

function meterOf(
  bytesTotal: number,
  bytesDone: () => number,
  { emit }: Pick<VerifyContext, 'emit'>,
): Disposable {
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

/** Ids and sizes of the packs that the segments name. */
async function namedPacks(
  segments: readonly string[],
  { repository, signal }: VerifyContext,
): Promise<ReadonlyMap<string, number>> {
  const named = new Map<string, number>()
  for (const segment of segments) {
    try {
      const packs = await packsOfSegment(repository.backend, segment, { signal })
      for (const { id, bytes } of packs) named.set(id, bytes)
    } catch (error) {
      // Merged away since it was checked: this was the last moment at which it could be asked.
      if (!(error instanceof MoverError) || error.code !== 'OBJECT_NOT_FOUND') throw error
    }
  }
  return named
}

async function findMissing(
  named: ReadonlyMap<string, number>,
  { listed, context }: { readonly listed: ReadonlySet<string>; readonly context: VerifyContext },
): Promise<void> {
  const { repository, report, signal } = context
  for (const id of named.keys()) {
    if (listed.has(id) || (await repository.backend.has(packName(id), { signal }))) continue
    report.add('pack', id, 'the index names it, and it is not there')
  }
}
