import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

/** Empties the page cache, so that what is read next comes from the disk. Needs root. */
export function dropPageCache(): void {
  execFileSync('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}
