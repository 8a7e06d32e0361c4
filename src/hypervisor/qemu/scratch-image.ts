/**
 * An empty qcow2 file, as docs/interop/qcow2.txt of QEMU says: version 3, clusters of 64 KiB, nothing
 * allocated. It is written here because QEMU 7.2 ends with a failed assertion (qcow2_get_specific_info)
 * when anybody asks for its nodes while its own job makes one, and with it ends the guest.
 */
import { open } from 'node:fs/promises'
import { invariant } from '../../core/invariant.js'

const CLUSTER_BITS = 16
const CLUSTER_BYTES = 2 ** CLUSTER_BITS
const ENTRY_BYTES = 8
/** Of the disk, by one entry of the first-level table: a cluster of entries for a cluster each. */
const L1_ENTRY_BYTES = (CLUSTER_BYTES / ENTRY_BYTES) * CLUSTER_BYTES
const HEADER_BYTES = 104

/** Header, table of refcount blocks, one such block; then the first-level table. */
const L1_CLUSTER = 3
/** What one refcount block of 16-bit counts tells of. */
const COUNTED_CLUSTERS = CLUSTER_BYTES / 2

/** Writes an empty image for a disk of `volumeBytes` over the beginning of a file that reads as zero. */
export async function formatScratch(path: string, volumeBytes: number): Promise<void> {
  await using file = await open(path, 'r+')
  const image = emptyImage(volumeBytes)
  await file.write(image, 0, image.length, 0)
}

/** The bytes of an empty image, as far as they are not zero. */
export function emptyImage(volumeBytes: number): Buffer {
  const l1Entries = Math.ceil(volumeBytes / L1_ENTRY_BYTES)
  const clusters = L1_CLUSTER + Math.ceil((l1Entries * ENTRY_BYTES) / CLUSTER_BYTES)
  invariant(clusters <= COUNTED_CLUSTERS, 'one refcount block tells of all tables')
  const image = Buffer.alloc(L1_CLUSTER * CLUSTER_BYTES)
  image.write('QFI\xfb', 0, 'latin1')
  image.writeUInt32BE(3, 4)
  image.writeUInt32BE(CLUSTER_BITS, 20)
  image.writeBigUInt64BE(BigInt(volumeBytes), 24)
  image.writeUInt32BE(l1Entries, 36)
  image.writeBigUInt64BE(BigInt(L1_CLUSTER * CLUSTER_BYTES), 40)
  image.writeBigUInt64BE(BigInt(CLUSTER_BYTES), 48)
  image.writeUInt32BE(1, 56)
  // 2 to the power of 4: refcounts of 16 bits.
  image.writeUInt32BE(4, 96)
  image.writeUInt32BE(HEADER_BYTES, 100)
  image.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES), CLUSTER_BYTES)
  for (let cluster = 0; cluster < clusters; cluster += 1) {
    image.writeUInt16BE(1, 2 * CLUSTER_BYTES + 2 * cluster)
  }
  return image
}
