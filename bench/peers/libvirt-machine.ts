/** Domains of a libvirt of the benchmark's own, in which the guest writes what it is told to. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  defineDomain,
  domainXml,
  startLibvirtd,
  type Libvirtd,
} from '../../test/support/libvirtd.js'
import { GRANULARITY_BYTES, contents } from '../volumes/changed-volume.js'
import type { GuestChanges } from '../volumes/guest-changes.js'

/** A running domain with one disk, `vda`. */
export interface Machine {
  readonly domain: string
  readonly libvirtd: Libvirtd
  /** The qcow2 image of its disk. */
  readonly image: string
}

export interface Libvirt extends AsyncDisposable {
  /** Of libvirt and of QEMU. */
  readonly version: string
  readonly libvirtd: Libvirtd
}

/** Starts a libvirt that ends with all its domains when it is disposed of. */
export async function startLibvirt(): Promise<Libvirt> {
  const ends: (() => Promise<void>)[] = []
  const end = async () => {
    for (const one of ends) await one()
  }
  try {
    const libvirtd = await startLibvirtd({ teardown: one => ends.push(one) })
    const words = await libvirtd.virsh('version')
    const [, libvirt] = /Using library: (.*)/.exec(words) ?? []
    const [, qemu] = /Running hypervisor: (.*)/.exec(words) ?? []
    return { libvirtd, version: `${libvirt}, ${qemu}`, [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

/** Starts a domain whose disk has the bytes of a raw volume, in a new image in `folder`. */
export async function startMachine(
  libvirtd: Libvirtd,
  { domain, volume, folder }: { domain: string; volume: string; folder: string },
): Promise<Machine> {
  const image = join(folder, `${domain}.qcow2`)
  rmSync(image, { force: true })
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', volume, image])
  await defineDomain(libvirtd, domainXml(domain, [{ target: 'vda', path: image }]))
  return { domain, libvirtd, image }
}

/** What libvirt's clients connect to. */
export function uriOf({ libvirtd }: Machine): string {
  return `qemu+unix:///system?socket=${libvirtd.socket}`
}

/** Deletes all checkpoints of a domain, so that the next backup is in full. */
export async function forgetCheckpoints({ domain, libvirtd }: Machine): Promise<void> {
  const names = await libvirtd.virsh('checkpoint-list', domain, '--name', '--topological')
  for (const name of names.split('\n').filter(Boolean).reverse()) {
    await libvirtd.virsh('checkpoint-delete', domain, name)
  }
}

/** Writes through the device that the guest sees, as its driver would, and flushes. */
export async function writeInGuest(
  machine: Machine,
  { granules, seed, zeroed }: GuestChanges,
  folder: string,
): Promise<void> {
  const pieces = join(folder, 'pieces')
  mkdirSync(pieces)
  try {
    const content = contents(granules.length, seed)
    const lines = granules.map(granule => {
      const piece = join(pieces, String(granule))
      writeFileSync(piece, content.next().value as Buffer)
      return `write -s ${piece} ${granule * GRANULARITY_BYTES} ${GRANULARITY_BYTES}`
    })
    const [from, bytes] = [zeroed.first, zeroed.count].map(count => count * GRANULARITY_BYTES)
    await guestIo(machine, [...lines, `write -z -u ${from} ${bytes}`])
  } finally {
    rmSync(pieces, { recursive: true })
  }
}

/** Writes by commands of qemu-io, and flushes. Throws unless QEMU says of each that it was done. */
async function guestIo(machine: Machine, commands: readonly string[]): Promise<void> {
  const { domain, libvirtd } = machine
  const log = join(libvirtd.folder, 'log', 'qemu', `${domain}.log`)
  const before = readFileSync(log).length
  const device = '/machine/peripheral/virtio-disk0/virtio-backend'
  // One virsh for all of them: to start one takes longer than to write a granule.
  const virsh = spawn('virsh', ['-q', '-c', uriOf(machine)], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  virsh.stdin.end(
    [...commands, 'flush']
      .map(one => `qemu-monitor-command ${domain} --hmp 'qemu-io -d ${device} "${one}"'\n`)
      .join(''),
  )
  await once(virsh, 'close')
  const said = readFileSync(log).subarray(before).toString()
  const done = said.match(/^wrote (\d+)\/\1 bytes/gm)?.length ?? 0
  if (done !== commands.length) {
    throw new Error(`the guest did ${done} of ${commands.length} writes: ${said.slice(-1000)}`)
  }
}
