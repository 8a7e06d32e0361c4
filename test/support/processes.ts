import { readdirSync, readFileSync } from 'node:fs'

/** Ids of the processes that have `word` in their command line. */
export function processesWith(word: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .filter(id => id !== process.pid && commandOf(id).includes(word))
}

/** Empty for one that is gone, or a zombie. */
function commandOf(id: number): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
