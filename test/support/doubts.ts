import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** Takes from a repository what it knows of trackers that lied: the next run is as the first. */
export function forgetDoubts(repository: string): void {
  const folder = join(repository, 'doubts')
  for (const name of readdirSync(folder)) rmSync(join(folder, name))
}
