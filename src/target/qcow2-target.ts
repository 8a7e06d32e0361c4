import { open, unlink } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { AbortOptions } from '../core/abort.js'
import { DisposalStack } from '../core/disposal-stack.js'
import { MoverError } from '../core/errors.js'
import { invariant } from '../core/invariant.js'
import { qcow2PathOf } from '../core/qcow2-name.js'
import { native } from '../native/addon.js'
import { openNbdVolume, type NbdVolume } from '../native/nbd-volume.js'
import { createQcow2 } from '../qemu/qemu-img.js'
import { openQemuNbd, type QemuNbd } from '../qemu/qemu-nbd.js'
import { ignoreMissing, linkTarget, partialName } from './file-target.js'
import { guardQcow2Image } from './qcow2-guard.js'
import { guardTarget, nothingToKeep, type GuardOptions } from './target-guard.js'
import type { Target } from './target.js'

export interface Qcow2TargetOptions extends AbortOptions, GuardOptions {
  readonly volumeBytes: number
  /** What the image holds is built upon. */
  readonly keeps: boolean
}

/**
 * The disk in a qcow2 image, by way of a qemu-nbd of our own, which is gone and has closed the image when the
 * restore is done. An image that is not there is made, of the volume's size, under a hidden name until it
 * is whole; one that is there needs `exists`, as a file does, and is written into as a device is: its
 * bitmaps record it, and what lies beyond the volume stays. Throws what `guardTarget` and
 * `guardQcow2Image` throw, and TARGET_STATE where there is nothing to build upon.
 */
export async function openQcow2Target(
  name: string,
  { volumeBytes, keeps, signal, ...guard }: Qcow2TargetOptions,
): Promise<Target> {
  const path = resolve(qcow2PathOf(name))
  const kind = await guardTarget(path, guard)
  if (kind !== 'missing') {
    await using opened = new DisposalStack()
    await guardQcow2Image(path, { volumeBytes, opened, ...guard })
    const served = await serve(path, { name, signal, opened })
    return existingImage(name, served, opened.move())
  }
  if (keeps) throw nothingToKeep(path)
  return newImage(name, { path, signal })
}

interface Served {
  readonly server: QemuNbd
  readonly disk: NbdVolume
}

async function serve(
  path: string,
  {
    name,
    opened,
    signal,
  }: AbortOptions & { readonly name: string; readonly opened: DisposalStack },
): Promise<Served> {
  const server = opened.use(
    await openQemuNbd(path, { isWritten: true, code: 'TARGET_UNUSABLE', signal }),
  )
  const disk = await openNbdVolume(server.uri, { name, role: 'target', contexts: [], signal })
  opened.defer(() => disk.close())
  await native(addon => addon.connectNbdFully(disk.handle), 'open')
  await server.hide()
  return { server, disk }
}

/** With its last client qemu-nbd leaves, and has closed the image in order when it has left. */
async function closeImage({ server, disk }: Served): Promise<void> {
  disk.close()
  await server.finished()
}

function existingImage(name: string, served: Served, opened: DisposalStack): Target {
  const { disk } = served
  return {
    kind: 'qcow2',
    isNew: false,
    name,
    handle: disk.handle,
    bytes: disk.bytes,
    readsAsZero: false,
    async prepare() {
      // A disk has the size it has.
    },
    flush: () => native(addon => addon.syncDevice(disk.handle), 'flush'),
    finish: () => closeImage(served),
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

function newImage(
  name: string,
  { path, signal }: AbortOptions & { readonly path: string },
): Target {
  const partial = partialName(path)
  const opened = new DisposalStack()
  let served: Served | null = null
  const disk = () => {
    invariant(served !== null, 'a target is prepared before it is written')
    return served.disk
  }
  return {
    kind: 'qcow2',
    isNew: true,
    name,
    get handle() {
      return disk().handle
    },
    bytes: 0,
    readsAsZero: true,
    async prepare(volumeBytes) {
      await makeEmpty(partial)
      // Nothing is there any more when it has its name.
      opened.defer(() => unlink(partial).catch(ignoreMissing))
      await createQcow2(partial, { volumeBytes, code: 'TARGET_FAILED' })
      served = await serve(partial, { name, signal, opened })
    },
    flush: () => native(addon => addon.syncDevice(disk().handle), 'flush'),
    async finish() {
      invariant(served !== null, 'a target is prepared before it is finished')
      await closeImage(served)
      await syncFile(partial)
      await linkTarget(partial, path)
    },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

/** For its owner alone, which qemu-img would not make it: it keeps what it finds. */
async function makeEmpty(path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close()
  } catch (cause) {
    throw new MoverError('TARGET_UNUSABLE', `cannot make ${path}`, { stage: 'open', cause })
  }
}

/** What qemu-nbd wrote when it closed the image is in the page cache. */
async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } catch (cause) {
    throw new MoverError('TARGET_FAILED', `cannot flush ${path}`, { stage: 'flush', cause })
  } finally {
    await file.close()
  }
}
