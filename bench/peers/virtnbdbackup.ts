import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../harness/bench.js'
import type { Command } from '../harness/command.js'
import { uriOf, type Machine } from './libvirt-machine.js'
import { synced, versionOf } from './peer.js'

/** What does the same for domains of libvirt: full backups, incremental ones, and restores. */
export interface Virtnbdbackup {
  /** What it says of its version; it is there. */
  readonly version: string
  backup(level: 'full' | 'inc', request: BackupRequest): Command
  /** Makes a qcow2 image of the newest state, with the name that the domain's has. */
  restore(from: string, into: string): Command
}

export interface BackupRequest {
  readonly machine: Machine
  readonly into: string
  /** What QEMU keeps there of what the guest overwrites meanwhile. */
  readonly scratch: string
  readonly flags: readonly string[]
}

/** As install.sh has installed it, or as it is on PATH. One disk has one worker, whatever it is told. */
export function findVirtnbdbackup(): Virtnbdbackup | null {
  const [backup, restore] = ['virtnbdbackup', 'virtnbdrestore'].map(program) as [string, string]
  const version = versionOf(backup, '--version')
  if (version === null) return null
  return {
    version,
    backup(level, { machine, into, scratch, flags }) {
      const words = [
        ...[backup, '-U', `'${uriOf(machine)}'`, '-d', machine.domain, '-l', level],
        ...['-o', `'${into}'`, '--scratchdir', `'${scratch}'`, '-n', ...flags],
      ]
      return synced(words.join(' '), into)
    },
    restore: (from, into) =>
      synced(`${restore} -i '${from}' -o '${into}' -n -L '${into}/log'`, into),
  }
}

function program(name: string): string {
  const own = join(ROOT, 'bench', 'peers', 'installed', 'bin', name)
  return existsSync(own) ? own : name
}
