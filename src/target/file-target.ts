import { randomBytes } from 'node:crypto'
import { link, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { loadAddon, native } from '../native/addon.js'
import { targetExists } from './target-guard.js'
import type { Target } from './target.js'

/**
 * A file that is not there yet. It is written under a hidden name beside its own and gets its name
 * when it is whole and durable: a half-restored file is never taken for a volume.
 */
export function createFileTarget(path: string): Target {
  const partial = partialName(path)
  let opened: number | null = null
  let isNamed = false
  const handle = () => {
    invariant(opened !== null, 'a target is prepared before it is written')
    return opened
  }
  return {
    kind: 'file',
    isNew: true,
    name: path,
    get handle() {
      return handle()
    },
    bytes: 0,
    readsAsZero: true,
    async prepare(volumeBytes) {
      const options = { create: true, exclusive: false, direct: true }
      opened = native(addon => addon.openTarget(partial, options), 'open').handle
      await native(addon => addon.truncateDevice(handle(), volumeBytes), 'write')
    },
    flush: () => native(addon => addon.syncDevice(handle()), 'flush'),
    async finish() {
      await linkTarget(partial, path)
      isNamed = true
    },
    async [Symbol.asyncDispose]() {
      if (opened === null) return
      loadAddon().closeDevice(opened)
      if (!isNamed) await unlink(partial).catch(ignoreMissing)
    },
  }
}

/**
 * A file that is there, written in place. With `keeps`, it holds a state that the restore builds
 * on; otherwise it is emptied first, so that it reads as zero wherever nothing is written.
 */
export function openFileTarget(path: string, { keeps }: { readonly keeps: boolean }): Target {
  const { handle, bytes } = native(
    addon => addon.openTarget(path, { create: false, exclusive: false, direct: true }),
    'open',
  )
  return {
    kind: 'file',
    isNew: false,
    name: path,
    handle,
    bytes,
    readsAsZero: !keeps,
    async prepare(volumeBytes) {
      if (!keeps) await native(addon => addon.truncateDevice(handle, 0), 'write')
      if (!keeps || bytes < volumeBytes) {
        await native(addon => addon.truncateDevice(handle, volumeBytes), 'write')
      }
    },
    flush: () => native(addon => addon.syncDevice(handle), 'flush'),
    async finish(volumeBytes) {
      if (keeps && bytes > volumeBytes) {
        await native(addon => addon.truncateDevice(handle, volumeBytes), 'write')
        await native(addon => addon.syncDevice(handle), 'flush')
      }
    },
    async [Symbol.asyncDispose]() {
      loadAddon().closeDevice(handle)
    },
  }
}

/** A name beside the target's, and hidden; no longer than a name may be, whatever the target's own length. */
export function partialName(path: string): string {
  const start = Buffer.from(basename(path)).subarray(0, NAME_BYTES_MAX).toString('latin1')
  const name = start.replace(/[^\w.-]/g, '_')
  return join(dirname(path), `.${name}.${randomBytes(4).toString('hex')}.mover`)
}

/** Of 255 that a name may have, so that the rest of the hidden one fits. */
const NAME_BYTES_MAX = 200

/** Gives a file that is whole and durable its name, never over something. */
export async function linkTarget(partial: string, path: string): Promise<void> {
  try {
    await giveName(partial, path)
    await syncDirectory(dirname(path))
  } catch (cause) {
    if (isCode(cause, 'EEXIST')) throw targetExists(path)
    throw new MoverError('TARGET_FAILED', `cannot give the restored file its name ${path}`, {
      stage: 'flush',
      cause,
    })
  }
}

/** Never over something: a link fails with EEXIST, and so does the empty file that stands in for it. */
async function giveName(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path)
    await unlink(partial)
  } catch (error) {
    // File systems without hard links, such as exFAT.
    if (!isCode(error, 'EPERM') && !isCode(error, 'EOPNOTSUPP')) throw error
    const claim = await open(path, 'wx', 0o600)
    await claim.close()
    await rename(partial, path)
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Only a clear "it is not there" is no failure to remove it. */
export function ignoreMissing(error: unknown): void {
  if (!isCode(error, 'ENOENT')) throw error
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
