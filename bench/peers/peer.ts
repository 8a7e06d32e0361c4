import { execFileSync } from 'node:child_process'
import type { Command } from '../harness/command.js'

/** A program that does the same job: where it is, and its commands with the fastest sensible flags. */
export interface Peer {
  readonly name: string
  /** What it says of its version; it is there. */
  readonly version: string
  init(repository: string): readonly Command[]
  /** Backs up `item/disk.img`; synced, as mover does by itself. */
  backup(repository: string, item: string): Command
  /** Restores the newest backup below a new folder. */
  restore(repository: string, into: string): Command
}

/** Runs a shell line, and then syncs the file system of a folder. */
export function synced(line: string, folder: string, more: Partial<Command> = {}): Command {
  return { ...more, argv: ['sh', '-c', `${line} >/dev/null && sync -f "$1"`, 'sh', folder] }
}

/** The first line of what a program says of its version, or null where there is no such program. */
export function versionOf(program: string, ...args: string[]): string | null {
  try {
    const answer = execFileSync(program, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return answer.split('\n')[0] ?? ''
  } catch {
    return null
  }
}
