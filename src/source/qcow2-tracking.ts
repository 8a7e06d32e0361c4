import { resolve } from 'node:path'
import type { AbortOptions } from '../core/abort.js'
import { qcow2PathOf } from '../core/qcow2-name.js'
import { dirtyBytesOf } from '../cbt/dirty-bytes.js'
import type { Qcow2Bitmap } from '../cbt/qcow2-directory.js'
import type { ImageRules } from '../cbt/qcow2-header.js'
import { bitmapHealth } from '../cbt/qcow2-health.js'
import { qcow2Changes } from './qcow2-changes.js'
import { openQcow2Image } from './qcow2-image.js'
import { isOwnName, type Tracker, type TrackerFlag, type Tracking } from '../cbt/tracking.js'

/**
 * The dirty bitmaps in an image, each as a backup would find it now. Throws SOURCE_UNUSABLE for what is no
 * sound image, and what a bitmap's table is refused with.
 */
export async function qcow2Tracking(name: string, options?: AbortOptions): Promise<Tracking> {
  const path = qcow2PathOf(name)
  const rules: ImageRules = { name: `'${path}'`, code: 'SOURCE_UNUSABLE' }
  const { header, isHeld, bitmaps } = await lookInto(resolve(path), rules)
  const trackers: Tracker[] = []
  for (const bitmap of bitmaps) {
    trackers.push(await trackerOf(bitmap, { path, volumeBytes: header.volumeBytes }, options))
  }
  // What is wrong with the image itself is all that can be said of bitmaps it does not tell of.
  const health = bitmapHealth(header, null)
  const doubt = !isHeld ? 'image-in-use' : health.kind === 'lost' ? health.reason : null
  return {
    source: name,
    kind: 'qcow2',
    volumeBytes: header.volumeBytes,
    dataFile: header.dataFile?.file ?? null,
    trackers,
    ...(header.isEncrypted ? ENCRYPTED : wordsOf(trackers, doubt, path)),
  }
}

type Words = Pick<Tracking, 'reason' | 'remedy'>

/** A bitmap is of use here, too: beside a source that somebody serves who has the key. */
const ENCRYPTED: Words = {
  reason: 'image-encrypted',
  remedy:
    'serve it with qemu-nbd --object secret,… --image-opts …, with the key, and back up its URI: its ' +
    'bitmaps are good for that. qemu-img bitmap --add takes the key in the same words',
}

function wordsOf(trackers: readonly Tracker[], doubt: string | null, path: string): Words {
  if (trackers.length > 0) return { reason: null, remedy: null }
  return { reason: doubt, remedy: remedyFor(doubt ?? 'bitmap-absent', path) }
}

async function lookInto(path: string, rules: ImageRules) {
  await using image = await openQcow2Image(path, rules)
  return { header: image.header, isHeld: image.isHeld, bitmaps: await image.bitmaps() }
}

interface Place {
  readonly path: string
  readonly volumeBytes: number
}

async function trackerOf(
  bitmap: Qcow2Bitmap,
  { path, volumeBytes }: Place,
  options?: AbortOptions,
): Promise<Tracker> {
  const { name, granularityBits } = bitmap
  const request = { volumeBytes, parentVolumeBytes: volumeBytes, ...options }
  const { health, extents } = await qcow2Changes({ path, bitmap: name }).changed(request)
  const isLost = health.kind === 'lost'
  return {
    kind: 'qcow2-bitmap',
    name,
    isOwn: isOwnName(name),
    granularityBytes: 2 ** granularityBits,
    dirtyBytes: isLost ? null : await dirtyBytesOf(extents),
    flags: flagsOf(bitmap),
    health: health.kind,
    reason: isLost ? health.reason : null,
    changes: isLost ? null : `qcow2:${path},bitmap=${name}`,
    remedy: isLost ? remedyFor(health.reason, path, name) : null,
  }
}

function flagsOf(bitmap: Qcow2Bitmap): TrackerFlag[] {
  const flags: [boolean, TrackerFlag][] = [
    [bitmap.isRecording, 'recording'],
    [bitmap.isInUse, 'in-use'],
    [bitmap.hasUnknownFlags, 'unknown-flags'],
    [bitmap.hasUnknownData, 'unknown-data'],
  ]
  return flags.filter(([isSet]) => isSet).map(([, flag]) => flag)
}

/** What makes tracking good again; until then a backup reads all. */
function remedyFor(reason: string, path: string, bitmap: string | null = null): string {
  switch (reason) {
    case 'image-in-use':
      return (
        'end the program that has it open, or ask that program: a machine that runs is qmp:PATH/NODE ' +
        'or libvirt:DOMAIN, and what it exports over NBD has a URI'
      )
    case 'image-corrupt':
    case 'image-dirty':
      return `let QEMU look at it: qemu-img check -r all ${path}; then ${begin(path, bitmap)}`
    case 'image-unknown':
    case 'bitmap-unknown':
      return 'it was made by a newer program: serve it with that one, or name the bitmap over NBD'
    case 'backing-unknown':
      return 'see that every image below it is there, and that each says the format of the next'
    default:
      return begin(path, bitmap)
  }
}

function begin(path: string, bitmap: string | null): string {
  const remove = bitmap === null ? '' : `qemu-img bitmap --remove ${path} ${bitmap}; `
  return (
    `begin anew while it is not in use: ${remove}qemu-img bitmap --add ${path} NAME, then a backup with ` +
    '--checkpoint NAME, before anything writes to it'
  )
}
