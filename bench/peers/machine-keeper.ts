/** Those who back up a running domain: each one a machine of his own, lest he meet the checkpoints of another. */
import { mkdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { mover } from '../harness/bench.js'
import type { Command } from '../harness/command.js'
import { VOLUME, backupCommand, initRepository } from '../mover-commands.js'
import { forgetCheckpoints, type Machine } from './libvirt-machine.js'
import type { Virtnbdbackup } from './virtnbdbackup.js'

export interface Keeper {
  readonly name: string
  readonly machine: Machine
  /** The folder of all that is kept. */
  readonly store: string
  readonly full: Command
  readonly incremental: Command
  /** Makes `restored`, a qcow2 image of the newest state. */
  readonly restore: Command
  readonly restored: string
  /** Forgets all that was kept, and what libvirt counts from. */
  begin(): Promise<void>
  /** Removes what was restored. */
  clear(): void
}

export function moverKeeper(machine: Machine, folder: string): Keeper {
  const { store, into, scratch } = foldersIn(folder)
  const restored = join(into, basename(machine.image))
  const source = `libvirt:${machine.domain}/vda?socket=${machine.libvirtd.socket}`
  // The same command for both: it finds out by itself what to read.
  const backup = backupCommand(store, source, '--scratch', scratch)
  const words = ['restore', `${VOLUME}@latest`, `qcow2:${restored}`, '--repo', store, '--quiet']
  return {
    ...{ name: 'mover', machine, store, restored },
    ...{ full: backup, incremental: backup, restore: mover(...words) },
    async begin() {
      await forgetCheckpoints(machine)
      await initRepository(store)
    },
    clear: () => empty(into),
  }
}

export interface PeerFlags {
  readonly name: string
  readonly full: readonly string[]
  readonly incremental: readonly string[]
}

export function peerKeeper(
  { machine, folder }: { readonly machine: Machine; readonly folder: string },
  peer: Virtnbdbackup,
  { name, full, incremental }: PeerFlags,
): Keeper {
  const { store, into, scratch } = foldersIn(folder)
  const common = { machine, into: store, scratch }
  return {
    ...{ name, machine, store, restored: join(into, basename(machine.image)) },
    full: peer.backup('full', { ...common, flags: full }),
    incremental: peer.backup('inc', { ...common, flags: incremental }),
    restore: peer.restore(store, into),
    async begin() {
      await forgetCheckpoints(machine)
      empty(store)
    },
    clear: () => empty(into),
  }
}

function foldersIn(folder: string): Record<'store' | 'into' | 'scratch', string> {
  const [store, into, scratch] = ['store', 'restored', 'scratch'].map(name => join(folder, name))
  const folders = { store, into, scratch } as Record<'store' | 'into' | 'scratch', string>
  for (const path of Object.values(folders)) empty(path)
  return folders
}

function empty(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
}
