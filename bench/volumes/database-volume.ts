import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../harness/bench.js'
import { GRANULARITY_BYTES, setBit, type Change } from './changed-volume.js'

/** A real database's volume in two states, and the dirty bitmap between them, by comparing. */
export function databaseVolume(folder: string): {
  readonly before: string
  readonly after: Change
} {
  const [before, after] = [join(folder, 'database-1.img'), join(folder, 'database-2.img')]
  if (!existsSync(after)) {
    const script = join(ROOT, 'bench', 'volumes', 'database.sh')
    execFileSync(script, [folder], { stdio: ['ignore', 'ignore', 'inherit'] })
  }
  const bitmap = join(folder, 'database.bitmap')
  const bits = Buffer.alloc(Math.ceil(statSync(before).size / GRANULARITY_BYTES / 8))
  const granules = differingGranules(before, after)
  for (const granule of granules) setBit(bits, granule)
  writeFileSync(bitmap, bits)
  return { before, after: { volume: after, bitmap, bytes: granules.length * GRANULARITY_BYTES } }
}

/** Granules in which two files of one size differ. */
export function differingGranules(one: string, other: string): number[] {
  const files = [one, other].map(path => openSync(path, 'r')) as [number, number]
  const [a, b] = [Buffer.alloc(64 * GRANULARITY_BYTES), Buffer.alloc(64 * GRANULARITY_BYTES)]
  const granules: number[] = []
  try {
    for (let first = 0; ; first += 64) {
      const offset = first * GRANULARITY_BYTES
      const bytes = readSync(files[0], a, 0, a.length, offset)
      if (readSync(files[1], b, 0, b.length, offset) !== bytes) throw new Error('sizes differ')
      if (bytes === 0) return granules
      for (let at = 0; at * GRANULARITY_BYTES < bytes; at += 1) {
        const [from, to] = [at * GRANULARITY_BYTES, Math.min((at + 1) * GRANULARITY_BYTES, bytes)]
        if (a.compare(b, from, to, from, to) !== 0) granules.push(first + at)
      }
    }
  } finally {
    files.forEach(closeSync)
  }
}
