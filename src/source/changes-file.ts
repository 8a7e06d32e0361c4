/**
 * Change maps in files: `bitmap:FILE,granularity=64KiB[,since=CHECKPOINT]` and
 * `extents:FILE[,since=CHECKPOINT]`.
 */
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { MoverError } from '../core/errors.js'
import { BITMAP_BYTES_MAX } from '../core/limits.js'
import { formatBytes, parseBytes } from '../core/units.js'
import { readExtents } from '../cbt/extents-file.js'
import { bitmapChanges, statedChanges, type ChangeSource } from './change-source.js'
import { invalidSpec, splitSpec } from './changes-spec.js'

/**
 * Opens the change map that `spec` names. Throws ARGUMENT_INVALID for a spec that means nothing,
 * CHANGES_FAILED for a file that cannot be read and CHANGES_MALFORMED for a bitmap too large to be one.
 */
export async function changesFromFile(spec: string): Promise<ChangeSource> {
  const { kind, path, granularity, since } = parseSpec(spec)
  const name = `${kind}:${path}`
  if (kind === 'bitmap') {
    if (granularity === null)
      throw invalidSpec(spec, 'a bitmap needs ,granularity=64KiB (or what it is)')
    const granularityBytes = parseBytes(granularity)
    return bitmapChanges({ bits: await readBitmap(path), granularityBytes, since, name })
  }
  if (granularity !== null) throw invalidSpec(spec, 'extents have no granularity')
  await (await openRegular(path)).close()
  const isPinned = since !== null
  return statedChanges({
    name,
    since,
    granularityBytes: 1,
    read: request => readExtents(textOf(path), { ...request, name, isPinned }),
  })
}

interface ChangesSpec {
  readonly kind: 'bitmap' | 'extents'
  readonly path: string
  readonly granularity: string | null
  readonly since: string | null
}

function parseSpec(spec: string): ChangesSpec {
  const colon = spec.indexOf(':')
  const kind = spec.slice(0, Math.max(colon, 0))
  if (kind !== 'bitmap' && kind !== 'extents') {
    throw invalidSpec(
      spec,
      'write bitmap:FILE,granularity=64KiB, extents:FILE, or qcow2:FILE or an NBD URI with ,bitmap=NAME',
    )
  }
  const { rest, options } = splitSpec(spec, ['granularity', 'since'])
  const path = rest.slice(colon + 1)
  if (path === '') throw invalidSpec(spec, 'it names no file')
  const { granularity, since } = options
  const unknown = /,([a-z]+)=/.exec(granularity ?? '')?.[1]
  if (unknown !== undefined)
    throw invalidSpec(spec, `'${unknown}' is neither granularity nor since`)
  return { kind, path, granularity, since }
}

async function readBitmap(path: string): Promise<Uint8Array> {
  await using file = await openRegular(path)
  try {
    const { size } = await file.stat()
    if (size > BITMAP_BYTES_MAX) {
      throw new MoverError(
        'CHANGES_MALFORMED',
        `'${path}' has ${formatBytes(size)}, and a bitmap at most ${formatBytes(BITMAP_BYTES_MAX)}`,
      )
    }
    return await file.readFile()
  } catch (cause) {
    throw failed(path, cause)
  }
}

/** The text of the file, read anew each time it is iterated. */
async function* textOf(path: string): AsyncGenerator<string> {
  await using file = await openRegular(path)
  try {
    for await (const piece of file.createReadStream({ encoding: 'utf8', autoClose: false })) {
      yield String(piece)
    }
  } catch (cause) {
    throw failed(path, cause)
  }
}

async function openRegular(path: string): Promise<FileHandle> {
  try {
    // Opening a pipe would wait for its writer; what one says could be read only once.
    const file = await open(path, constants.O_NONBLOCK)
    if ((await file.stat()).isFile()) return file
    await file.close()
  } catch (cause) {
    throw failed(path, cause)
  }
  throw new MoverError('CHANGES_FAILED', `'${path}' is not a regular file`, { stage: 'plan' })
}

function failed(path: string, cause: unknown): MoverError {
  if (cause instanceof MoverError) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MoverError('CHANGES_FAILED', `cannot read the change map '${path}': ${why}`, {
    stage: 'plan',
    cause,
  })
}
