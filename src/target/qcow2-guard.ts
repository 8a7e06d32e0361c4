import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { DisposalStack } from '../core/disposal-stack.js'
import { errorKind, MoverError } from '../core/errors.js'
import {
  headerBytesOf,
  isLocalPath,
  parseQcow2Header,
  QCOW2_HEAD_BYTES,
  type Qcow2Header,
} from '../cbt/qcow2-header.js'
import { loadAddon, native } from '../native/addon.js'
import { IMAGE_IN_USE_REMEDY } from '../qemu/qemu-program.js'
import { guardTarget, type GuardOptions } from './target-guard.js'

export interface Qcow2GuardOptions extends GuardOptions {
  readonly volumeBytes: number
  /** Gets what has to be held for as long as the image is written. */
  readonly opened: DisposalStack
}

/**
 * Says why an image that is there may not be written into; its file was looked at before. Throws
 * TARGET_REFUSED with `details.reason` image-in-use or too-small, TARGET_UNUSABLE for what is no sound
 * image, or one that must not be written, and what `guardTarget` says of its data file.
 */
export async function guardQcow2Image(path: string, options: Qcow2GuardOptions): Promise<void> {
  const { volumeBytes, opened } = options
  const { header, isFree } = await lookAt(path)
  if (!isFree) {
    const message = 'a program has it open for writing'
    throw refused(path, { reason: 'image-in-use', message, remedy: IMAGE_IN_USE_REMEDY })
  }
  const why = whyUnusable(header)
  if (why !== null) {
    throw new MoverError('TARGET_UNUSABLE', `'${path}' cannot be written: ${why}`, {
      stage: 'open',
      remedy: 'name another image, or one that is not there and will be made',
    })
  }
  if (header.volumeBytes < volumeBytes) {
    const message = `its disk has ${header.volumeBytes} bytes, and the volume ${volumeBytes}`
    throw refused(path, { reason: 'too-small', message, remedy: 'name another target' })
  }
  await claimDevice(path, opened)
  const dataFile = header.dataFile?.file ?? null
  if (dataFile === null) return
  // The bytes go there: it is as much the target as the image is.
  const file = resolve(dirname(path), dataFile)
  const { force, ...guard } = options
  await guardTarget(file, { ...guard, identity: null, force: [...force, 'exists'] })
  await claimDevice(file, opened)
}

async function lookAt(path: string): Promise<{ header: Qcow2Header; isFree: boolean }> {
  const { handle, bytes } = openedAsTarget(() =>
    native(addon => addon.openSource(path, true), 'open'),
  )
  const read = (length: number) =>
    native(addon => addon.readPiece(handle, 0, Math.min(bytes, length)), 'open')
  try {
    const isFree = native(addon => addon.holdImage(handle), 'open')
    const head = await read(QCOW2_HEAD_BYTES)
    const whole = headerBytesOf(head)
    const rules = { name: `'${path}'`, code: 'TARGET_UNUSABLE' } as const
    const header = parseQcow2Header(whole > head.length ? await read(whole) : head, rules)
    return { header, isFree }
  } finally {
    loadAddon().closeDevice(handle)
  }
}

/** It is read to be written to: that it cannot be is the target's fault, and no source's. */
function openedAsTarget<T>(open: () => T): T {
  try {
    return open()
  } catch (error) {
    if (!(error instanceof MoverError) || errorKind(error.code) !== 'source') throw error
    const { message, details } = error
    const options = { stage: 'open', details, cause: error } as const
    throw new MoverError('TARGET_UNUSABLE', message, options)
  }
}

function whyUnusable(header: Qcow2Header): string | null {
  if (header.hasUnknownFeatures) return 'it has features that are not known'
  if (header.isCorrupt) return 'it is marked as corrupt'
  if (header.isEncrypted) return 'it is encrypted'
  if (header.backing !== null && header.backing.format === null) {
    return `it does not say of which format ${header.backing.file} is, on which it lies`
  }
  const { dataFile } = header
  const isElsewhere = dataFile !== null && (dataFile.file === null || !isLocalPath(dataFile.file))
  return isElsewhere ? 'its data file is none of this host' : null
}

/** Claims a block device as a target is claimed: nothing can mount it meanwhile. Of a file there is no claim. */
async function claimDevice(path: string, opened: DisposalStack): Promise<void> {
  const { O_RDONLY, O_EXCL } = constants
  try {
    const file = await open(path, O_RDONLY + O_EXCL)
    opened.defer(() => file.close())
  } catch (cause) {
    throw new MoverError('TARGET_REFUSED', `'${path}' may not be written: it cannot be claimed`, {
      stage: 'open',
      details: { reason: 'held' },
      remedy: 'free it first, or name another target; no --force lifts this',
      cause,
    })
  }
}

function refused(
  path: string,
  refusal: { readonly reason: string; readonly message: string; readonly remedy: string },
): MoverError {
  const { reason, message, remedy } = refusal
  return new MoverError('TARGET_REFUSED', `'${path}' may not be written: ${message}`, {
    stage: 'open',
    details: { reason },
    remedy,
  })
}
