import type { MoverErrorCode } from '../core/errors.js'

/** What to do about a failure of the addon; null where only the caller can know. */
export function nativeRemedy(code: MoverErrorCode): string | null {
  return REMEDIES[code] ?? null
}

const VERIFY =
  'mover verify names all that is damaged and what it hits; another manifest may be whole'
const REBUILD = 'make the index anew from the packs with mover rebuild-index'

const REMEDIES: Readonly<Partial<Record<MoverErrorCode, string>>> = {
  SOURCE_UNUSABLE: 'name a regular file or a block device that this user may read',
  SOURCE_FAILED:
    'the kernel log (dmesg) says more of a device, its server of an NBD volume; nothing was backed up',
  SOURCE_SHORT_READ: 'back up a snapshot of the volume: this one was cut while it was read',
  TARGET_UNUSABLE: 'name a new file, or a file or block device that this user may write',
  TARGET_FAILED:
    'the kernel log (dmesg) says more of a device, its server of an NBD volume; restore again, or elsewhere',
  TARGET_FULL: 'make room there or name another target, and restore again',
  BACKEND_FAILED: 'see that the repository is mounted and whole; the kernel log (dmesg) says more',
  BACKEND_FULL: 'make room on the file system of the repository and start again: nothing is lost',
  CHUNK_CORRUPT: VERIFY,
  CHUNK_MISSING: `${REBUILD}; then ${VERIFY}`,
  PACK_CORRUPT: VERIFY,
  SEGMENT_CORRUPT: REBUILD,
}
