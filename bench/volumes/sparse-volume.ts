/** Volumes of any size that take as much of the disk as they hold: sparse files, on XFS where ext4 ends. */
import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GRANULARITY_BYTES, setBit, writeGranules, type Granules } from './changed-volume.js'
import { seeded } from './seeded.js'

/** Makes a sparse file of this size with content in some granules. */
export function sparseVolume(path: string, volumeBytes: number, content: Granules): void {
  const file = openSync(path, 'wx')
  try {
    ftruncateSync(file, volumeBytes)
    writeGranules(file, content)
  } finally {
    closeSync(file)
  }
}

/** Writes the dirty bitmap of a volume in which just these granules are dirty. */
export function writeBitmap(path: string, volumeBytes: number, granules: readonly number[]): void {
  const bits = Buffer.alloc(Math.ceil(volumeBytes / GRANULARITY_BYTES / 8))
  for (const granule of granules) setBit(bits, granule)
  writeFileSync(path, bits)
}

/** So many granules scattered over a volume by a seed, each in a stretch of its own, ascending. */
export function scatteredGranules(volumeBytes: number, count: number, seed: number): number[] {
  const random = seeded(seed)
  const stretch = Math.floor(volumeBytes / GRANULARITY_BYTES / count)
  return Array.from({ length: count }, (_, at) => at * stretch + Math.floor(random() * stretch))
}

/** An XFS in a sparse file of the scratch folder, mounted until it is disposed of. Needs root. */
export function mountXfs(scratch: string): { folder: string } & Disposable {
  const [image, folder] = [join(scratch, 'xfs.img'), join(scratch, 'xfs')]
  mkdirSync(folder, { recursive: true })
  if (!existsSync(image)) {
    closeSync(openSync(image, 'w'))
    execFileSync('truncate', ['-s', '200G', image])
    execFileSync('mkfs.xfs', ['-q', '-K', image])
  }
  execFileSync('mount', ['-o', 'loop', image, folder])
  return {
    folder,
    [Symbol.dispose]() {
      execFileSync('umount', [folder])
      execFileSync('rm', ['-f', image])
    },
  }
}
