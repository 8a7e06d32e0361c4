import { dirname, resolve } from 'node:path'
import type { AbortOptions } from '../core/abort.js'
import { DisposalStack } from '../core/disposal-stack.js'
import { MoverError } from '../core/errors.js'
import { QCOW2_LAYERS_MAX } from '../core/limits.js'
import { qcow2PathOf } from '../core/qcow2-name.js'
import { isLocalPath, type ImageRules } from '../cbt/qcow2-header.js'
import { loadAddon, native, type DeviceInfo } from '../native/addon.js'
import { openQemuNbd } from '../qemu/qemu-nbd.js'
import { IMAGE_IN_USE_REMEDY } from '../qemu/qemu-program.js'
import { openNbdSource } from './nbd-source.js'
import { belowOf } from './qcow2-layers.js'
import { openQcow2Image, type Qcow2Image } from './qcow2-image.js'
import { checkSameFile } from './same-file.js'
import type { Source } from './source.js'

/**
 * The disk in a qcow2 image that no program has open for writing, by way of a qemu-nbd of our own. The image
 * is held for as long: a machine that is started meanwhile is refused it by its QEMU. Throws SOURCE_UNUSABLE
 * for what is no sound image, is in use, encrypted, or lies on an image whose format would be guessed.
 */
export async function openQcow2Source(name: string, options?: AbortOptions): Promise<Source> {
  await using opened = new DisposalStack()
  const path = resolve(qcow2PathOf(name))
  const image = opened.use(await openQcow2Image(path, rulesOf(path)))
  refuseUnreadable(image)
  await refuseGuessing(image)
  const dataFile = openDataFile(image)
  if (dataFile !== null) opened.defer(() => loadAddon().closeDevice(dataFile.handle))
  const before = [image.file, ...(dataFile === null ? [] : [dataFile])]
  const server = opened.use(
    await openQemuNbd(path, { isWritten: false, code: 'SOURCE_UNUSABLE', ...options }),
  )
  const disk = opened.use(await openNbdSource(server.uri, { ...options, name }))
  await native(addon => addon.connectNbdFully(disk.handle), 'open')
  await server.hide()
  const held = opened.move()
  return {
    ...disk,
    kind: 'qcow2',
    name,
    identity: image.identity,
    checkUnchanged: () => {
      for (const file of before) checkSameFile(name, file)
    },
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  }
}

function rulesOf(path: string): ImageRules {
  return { name: `'${path}'`, code: 'SOURCE_UNUSABLE' }
}

function refuseUnreadable({ path, header, isHeld }: Qcow2Image): void {
  if (!isHeld) {
    throw unusable(path, 'a program has it open for writing', IMAGE_IN_USE_REMEDY)
  }
  if (header.isCorrupt) {
    throw unusable(path, 'it is marked as corrupt', 'qemu-img check -r all FILE tells, and mends')
  }
  if (header.isEncrypted) {
    throw unusable(path, 'it is encrypted', 'serve it with qemu-nbd, which takes the key, as a URI')
  }
}

/** Of which format a base is, its first bytes must not say: a guest may have written them. */
async function refuseGuessing(top: Qcow2Image): Promise<void> {
  await using opened = new DisposalStack()
  let image = top
  for (let layer = 0; layer < QCOW2_LAYERS_MAX; layer += 1) {
    const { path, header } = image
    if (header.backing !== null && header.backing.format === null) {
      const message = `it does not say of which format ${header.backing.file} is, on which it lies`
      const remedy = `say it: qemu-img rebase -u -b ${header.backing.file} -F FORMAT ${path}`
      throw unusable(path, message, remedy)
    }
    const below = belowOf(path, header)
    if (below === null || below === 'unknown') return
    image = opened.use(await openQcow2Image(below, rulesOf(below)))
  }
}

/** Opened to see whether it changes; QEMU finds it by itself. */
function openDataFile({ path, header }: Qcow2Image): DeviceInfo | null {
  const file = header.dataFile?.file ?? null
  if (file === null || !isLocalPath(file)) return null
  return native(addon => addon.openSource(resolve(dirname(path), file), false), 'open')
}

function unusable(path: string, why: string, remedy: string): MoverError {
  return new MoverError('SOURCE_UNUSABLE', `'${path}' cannot be read: ${why}`, {
    stage: 'open',
    remedy,
  })
}
