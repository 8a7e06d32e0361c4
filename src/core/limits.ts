/** Everything has a limit; here they are, with the asserts that bind them to each other. */
import { invariant } from './invariant.js'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB

/** Offsets are numbers, so a volume ends where numbers stop being exact. */
export const VOLUME_BYTES_MAX = Number.MAX_SAFE_INTEGER
export const VOLUME_NAME_BYTES_MAX = 1024

/** Of a Unix socket: sun_path has 108 bytes, and ends with a zero (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = 107

export const CHUNK_BYTES_MIN = 16 * KiB
export const CHUNK_BYTES_MAX = 4 * MiB
/** The granule of QEMU's, Xen's and VMware's trackers. */
export const CHUNK_BYTES_DEFAULT = 64 * KiB

export const PACK_BYTES_MIN = 1 * MiB
export const PACK_BYTES_DEFAULT = 16 * MiB
export const PACK_BYTES_MAX = 64 * MiB
/** A pack holds several chunks, or packing them would be pointless. */
export const PACK_CHUNKS_MIN = 4
/** What a reader is ready to look at, whatever an object claims. */
export const PACK_OBJECT_BYTES_MAX = 128 * MiB
export const SEGMENT_BYTES_MAX = 256 * MiB
export const SEGMENT_BYTES_READ_MAX = 2 * SEGMENT_BYTES_MAX

/** Children of a tree page. */
export const PAGE_CHILDREN = 128
export const TREE_HEIGHT_MAX = 6

/** Memory of one job that holds bytes on their way: read, being packed, being written. */
export const BYTES_IN_FLIGHT_DEFAULT = 128 * MiB
export const BYTES_IN_FLIGHT_MIN = 16 * MiB

/** A slower job would not move a chunk while somebody waits: it is a mistyped unit. */
export const RATE_BYTES_MIN = 64 * KiB

/** Worker threads of one job that a caller may ask for, and that one takes by itself. */
export const WORKERS_MAX = 256
export const WORKERS_DEFAULT_MAX = 8

/** Config, session and manifest. */
export const RECORD_BYTES_MAX = 16 * MiB
export const RECORD_DEPTH_MAX = 16
export const CHECKPOINT_BYTES_MAX = 1024
export const TAGS_MAX = 64
export const TAG_NAME_BYTES_MAX = 128
export const TAG_VALUE_BYTES_MAX = 1024

/** Volumes of one machine that are backed up together. */
export const SET_MEMBERS_MAX = 4096
/** What is kept with a manifest besides the volume, such as the description of its machine. */
export const ATTACHMENTS_MAX = 16
export const ATTACHMENT_NAME_BYTES_MAX = 128
export const ATTACHMENT_BYTES_MAX = 2 * MiB

export const ZSTD_LEVEL_MIN = 1
export const ZSTD_LEVEL_MAX = 19
export const ZSTD_LEVEL_DEFAULT = 3

/** Carried slots that an incremental reads to test the tracker: 256 + 5 % of the slots it reads. */
export const AUDIT_SLOTS_MIN = 256
export const AUDIT_PERCENT = 5
export const AUDIT_SLOTS_MAX = 16_384

/** No tracker counts in less than a sector. */
export const GRANULARITY_BYTES_MIN = 512
/** A bitmap is held in memory: enough for 512 TiB in granules of 64 KiB. */
export const BITMAP_BYTES_MAX = 1 * GiB
/** As QEMU: no image has larger clusters, or more bitmaps. */
export const QCOW2_CLUSTER_BYTES_MAX = 2 * MiB
export const QCOW2_BITMAPS_MAX = 65_535
export const QCOW2_DIRECTORY_BYTES_MAX = 64 * MiB
/** Images under an image, one below the other. */
export const QCOW2_LAYERS_MAX = 200
/** An extents file is streamed, however long it is; one statement in it is held in memory. */
export const EXTENT_TEXT_BYTES_MAX = 4 * KiB

/** Extents listed for one damaged thing: the list says where to look, the manifests say what is lost. */
export const DAMAGED_EXTENTS_MAX = 1000

/** Events kept for a caller who is not listening. */
export const EVENTS_BUFFERED_MAX = 1024

/** Whether a volume can be cut into chunks of `bytes`: a power of two from 16 KiB to 4 MiB. */
export function isChunkBytes(bytes: number): boolean {
  return (
    Number.isInteger(bytes) &&
    bytes >= CHUNK_BYTES_MIN &&
    bytes <= CHUNK_BYTES_MAX &&
    Number.isInteger(Math.log2(bytes))
  )
}

/** Whether packs of `packBytes` can be made of chunks of `chunkBytes`. */
export function isPackBytes({ packBytes, chunkBytes }: PackSizes): boolean {
  return (
    Number.isInteger(packBytes) &&
    packBytes >= Math.max(PACK_BYTES_MIN, PACK_CHUNKS_MIN * chunkBytes) &&
    packBytes <= PACK_BYTES_MAX
  )
}

export interface PackSizes {
  readonly packBytes: number
  readonly chunkBytes: number
}

invariant(isChunkBytes(CHUNK_BYTES_MIN) && isChunkBytes(CHUNK_BYTES_MAX), 'chunk bounds are sizes')
invariant(isChunkBytes(CHUNK_BYTES_DEFAULT), 'the default chunk is a chunk')
invariant(
  isPackBytes({ packBytes: PACK_BYTES_DEFAULT, chunkBytes: CHUNK_BYTES_MAX }),
  'the default pack holds the largest chunks',
)
invariant(ATTACHMENT_BYTES_MAX < CHUNK_BYTES_MAX, 'an attachment is stored in one piece')
invariant(PACK_BYTES_MAX < PACK_OBJECT_BYTES_MAX, 'readers accept what writers make')
invariant(
  PAGE_CHILDREN ** TREE_HEIGHT_MAX >= VOLUME_BYTES_MAX / CHUNK_BYTES_MIN,
  'the tree reaches every slot of the largest volume',
)
