/**
 * A libvirt of the test's own: its files lie in the test's folder, its mounts and processes in namespaces
 * that end with it, so that nothing of the host's libvirt is touched and nothing is left running.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

export interface Libvirtd {
  /** Of its own; short, because sockets are in it. */
  readonly folder: string
  /** Its read-write socket, as it is seen from outside. */
  readonly socket: string
  /** Runs virsh, and gives what it says. */
  virsh(...args: readonly string[]): Promise<string>
}

/** What it lives as long as: a test, or whatever else does something at its end. */
export interface Owner {
  teardown(end: () => Promise<void>): unknown
}

export interface DiskSpec {
  readonly target: string
  readonly path: string
  readonly format?: 'qcow2' | 'raw'
  readonly type?: 'file' | 'block'
  /** Elements that are put in as they are: `<readonly/>`, `<serial>…</serial>`. */
  readonly more?: string
  readonly device?: 'disk' | 'cdrom'
}

const QEMU_CONF = `
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
remember_owner = 0
`

const LIBVIRTD_CONF = (auth: string) => `
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "${auth}"
`

/** What of the host's is covered by the test's own. */
const COVERED = {
  etc: '/etc/libvirt',
  lib: '/var/lib/libvirt',
  run: '/run/libvirt',
  cache: '/var/cache/libvirt',
  log: '/var/log/libvirt',
}

/** Starts it, and waits until it answers. */
export async function startLibvirtd(
  t: Owner,
  {
    auth = 'none',
    prepare,
  }: { readonly auth?: 'none' | 'sasl'; readonly prepare?: (folder: string) => () => void } = {},
): Promise<Libvirtd> {
  const folder = mkdtempSync(join(tmpdir(), 'lv-'))
  // What is mounted later is not seen in its namespace.
  const undo = prepare?.(folder)
  for (const name of Object.keys(COVERED)) mkdirSync(join(folder, name))
  writeFileSync(join(folder, 'etc', 'qemu.conf'), QEMU_CONF)
  writeFileSync(join(folder, 'etc', 'libvirtd.conf'), LIBVIRTD_CONF(auth))
  const mounts = Object.entries(COVERED).map(
    ([name, path]) => `mkdir -p ${path} && mount --bind ${join(folder, name)} ${path}`,
  )
  // The shell stays, as the namespace's init: it reaps what libvirt orphans, for which libvirt would wait.
  const script = `${mounts.join(' && ')} && libvirtd --pid-file /run/libvirt/own.pid & wait`
  const child = spawn(
    'setpriv',
    // However the test ends, unshare does, and then everything in its namespaces.
    [
      ...['--pdeathsig', 'KILL', 'unshare', '--mount', '--propagation', 'private'],
      ...['--pid', '--fork', '--kill-child', '--mount-proc', 'bash', '-c', script],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (said += piece))
  child.on('error', error => (said += error.message))
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    undo?.()
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
  })
  const socket = join(folder, 'run', 'libvirt-sock')
  for (let tries = 0; !(await accepts(socket)); tries += 1) {
    if (child.exitCode !== null || tries > 1500) throw new Error(`libvirtd does not start: ${said}`)
    await sleep(20)
  }
  const virsh = async (...args: readonly string[]) => {
    const uri = `qemu+unix:///system?socket=${socket}`
    return (await execute('virsh', ['-q', '-c', uri, ...args])).stdout.trim()
  }
  return { folder, socket, virsh }
}

/** Bound is not yet listening: a socket that is there may still refuse. */
function accepts(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/** A domain of 64 MiB without a network, and without an operating system, but for what the disks boot. */
export function domainXml(
  name: string,
  disks: readonly DiskSpec[],
  { uuid, more = '' }: { readonly uuid?: string; readonly more?: string } = {},
): string {
  return [
    `<domain type='qemu'><name>${name}</name>${uuid === undefined ? '' : `<uuid>${uuid}</uuid>`}`,
    `<memory unit='MiB'>64</memory><vcpu>1</vcpu>`,
    `<os><type arch='x86_64' machine='pc'>hvm</type></os>`,
    `<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>`,
    ...disks.map((disk, nth) => diskXml(disk, nth + 1)),
    more,
    `<memballoon model='none'/></devices></domain>`,
  ].join('\n')
}

/** Of a disk without a place in the boot order the BIOS knows nothing. */
function diskXml(disk: DiskSpec, order: number): string {
  const { target, path, format = 'qcow2', type = 'file', more = '', device = 'disk' } = disk
  const bus = device === 'cdrom' ? 'ide' : 'virtio'
  const source = type === 'file' ? `file='${path}'` : `dev='${path}'`
  return [
    `<disk type='${type}' device='${device}'><driver name='qemu' type='${format}'/>`,
    `<source ${source}/><target dev='${target}' bus='${bus}'/><boot order='${order}'/>${more}</disk>`,
  ].join('')
}

/** Defines a domain, and starts it unless it is to stay off. */
export async function defineDomain(
  libvirtd: Libvirtd,
  xml: string,
  { isStarted = true }: { readonly isStarted?: boolean } = {},
): Promise<void> {
  const file = join(libvirtd.folder, 'domain.xml')
  writeFileSync(file, xml)
  await libvirtd.virsh('define', file)
  const name = /<name>(.*?)<\/name>/.exec(xml)?.[1] ?? ''
  if (isStarted) await libvirtd.virsh('start', name)
}

/** Makes an image for a disk. */
export async function makeImage(path: string, size: string, format = 'qcow2'): Promise<void> {
  await execute('qemu-img', ['create', '-q', '-f', format, path, size])
}

/**
 * Writes through the device that the guest sees, as its driver would: a command of qemu-io, such as
 * `write -P 0x11 5M 64k`. `disk` counts virtio disks from 0. Fails where QEMU says that it failed.
 */
export async function guestIo(
  libvirtd: Libvirtd,
  domain: string,
  command: string,
  disk = 0,
): Promise<void> {
  const device = `/machine/peripheral/virtio-disk${disk}/virtio-backend`
  const log = join(libvirtd.folder, 'log', 'qemu', `${domain}.log`)
  const before = readFileSync(log, 'utf8').length
  // Flushed, so that the image's file has it too, also what QEMU keeps of its tables.
  for (const one of [command, 'flush']) {
    await libvirtd.virsh('qemu-monitor-command', domain, '--hmp', `qemu-io -d ${device} "${one}"`)
  }
  const said = readFileSync(log, 'utf8').slice(before)
  if (/error|failed|No space/i.test(said)) throw new Error(`the guest's ${command}: ${said}`)
}

/** The process of a running domain, as it is known outside. */
export function qemuPid(libvirtd: Libvirtd, domain: string): number {
  for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    const command = commandLine(pid)
    // Its sockets lie below /var/lib/libvirt for all: the disks' paths tell whose it is.
    if (command.includes(`guest=${domain},`) && command.includes(libvirtd.folder))
      return Number(pid)
  }
  throw new Error(`no QEMU runs for ${domain}`)
}

function commandLine(pid: string): string {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
    return command.startsWith('/usr/bin/qemu-system') ? command : ''
  } catch {
    return '' // It ended meanwhile.
  }
}
