import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { GRANULARITY_BYTES } from '../volumes/changed-volume.js'
import { differingGranules } from '../volumes/database-volume.js'

const SAME = 0
const DIFFERENT = 1

/** Whether two qcow2 images hold the same disk, as QEMU says; a running domain may have one open. */
export function isSameDisk(one: string, other: string): boolean {
  const words = ['compare', '-q', '-U', '-f', 'qcow2', '-F', 'qcow2', one, other]
  const { status, stderr } = spawnSync('qemu-img', words, { encoding: 'utf8' })
  // Anything else is an error, and no answer.
  if (status !== SAME && status !== DIFFERENT) throw new Error(`qemu-img compare: ${stderr}`)
  return status === SAME
}

/** How many bytes lie in granules of 64 KiB in which a restored disk is not what it should be. */
export function wrongBytes(restored: string, image: string, folder: string): number {
  if (isSameDisk(restored, image)) return 0
  const raw = [restored, image].map((path, nth) => {
    const copy = join(folder, `compared-${nth}.img`)
    execFileSync('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', path, copy])
    return copy
  }) as [string, string]
  const granules = differingGranules(...raw)
  for (const copy of raw) rmSync(copy)
  return granules.length * GRANULARITY_BYTES
}
