/** Real machines for tests: QEMU without an operating system, whose guest writes when the test says so. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { QmpClient } from '../../src/hypervisor/qemu/qmp-client.js'

/** A machine that runs. */
export interface TestMachine {
  /** The monitor that mover is given. */
  readonly socket: string
  /** Another monitor, for the test itself. */
  readonly qmp: QmpClient
  readonly child: ChildProcess
  /** An empty folder with a short path, for scratch. */
  readonly scratch: string
  /** Writes as the guest does, through its device: `write -P 0x11 1M 64k`. */
  guest(disk: string, ...commands: readonly string[]): Promise<void>
  /** Ends it as a shutdown does, so that bitmaps are saved. */
  quit(): Promise<void>
  /** Ends it as a power cut does. */
  kill(): Promise<void>
}

export interface TestDisk {
  readonly node: string
  readonly file: string
  readonly format?: 'qcow2' | 'raw'
  /** Whether a thread of its own serves it. */
  readonly hasThread?: boolean
}

/** Starts a machine with disks, each a virtio device named `dev-NODE`. */
export async function startMachine(
  t: Test,
  disks: readonly TestDisk[],
  args: readonly string[] = [],
  program = 'qemu-system-x86_64',
): Promise<TestMachine> {
  const folder = mkdtempSync(join(tmpdir(), 'qemu-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [socket, own] = [join(folder, 'qmp'), join(folder, 'own')]
  const child = spawn(
    program,
    [
      ...['-accel', 'tcg', '-m', '16', '-nodefaults', '-display', 'none', '-S'],
      ...monitor('mover', socket),
      ...monitor('test', own),
      ...disks.flatMap(driveOf),
      ...args,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const said: string[] = []
  child.stderr.setEncoding('utf8').on('data', (piece: string) => said.push(piece))
  child.on('error', () => {})
  child.on('exit', (code, signal) => {
    if (signal !== 'SIGKILL' && code !== 0) t.fail(`QEMU ended by itself: ${said.join('')}`)
  })
  t.teardown(() => end(child))
  const qmp = await connected(own, child).catch((error: unknown) => {
    throw new Error(`QEMU did not start: ${said.join('')}`, { cause: error })
  })
  t.teardown(() => qmp[Symbol.asyncDispose]())
  return {
    socket,
    qmp,
    child,
    scratch: folder,
    guest: async (disk, ...commands) => {
      for (const command of commands) {
        said.length = 0
        await human(qmp, `qemu-io -d /machine/peripheral/dev-${disk}/virtio-backend "${command}"`)
      }
    },
    quit: async () => {
      await qmp.execute('quit').catch(() => {})
      if (child.exitCode === null) await once(child, 'exit')
    },
    kill: () => end(child),
  }
}

/** A QMP monitor on a socket: it serves one client at a time. */
function monitor(id: string, path: string): string[] {
  return [
    '-chardev',
    `socket,path=${path},server=on,wait=off,id=${id}`,
    '-mon',
    `chardev=${id},mode=control`,
  ]
}

function driveOf({ node, file, format = 'qcow2', hasThread = false }: TestDisk): string[] {
  const below = `driver=file,node-name=${node}-file,filename=${file},discard=unmap`
  return [
    '-blockdev',
    below,
    '-blockdev',
    `driver=${format},node-name=${node},file=${node}-file,discard=unmap`,
    ...(hasThread ? ['-object', `iothread,id=thread-${node}`] : []),
    '-device',
    `virtio-blk-pci,drive=${node},id=dev-${node}${hasThread ? `,iothread=thread-${node}` : ''}`,
  ]
}

/** What qemu-io prints goes to QEMU's own stdout; a failure comes back as text. */
async function human(qmp: QmpClient, line: string): Promise<void> {
  const answer = await qmp.execute('human-monitor-command', { 'command-line': line })
  if (answer !== '') throw new Error(String(answer))
}

async function connected(path: string, child: ChildProcess): Promise<QmpClient> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (child.pid === undefined) throw new Error(`${child.spawnfile} is not installed`)
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended: ${child.exitCode}`)
    if (existsSync(path)) {
      try {
        return await QmpClient.open(path)
      } catch (error) {
        // Bound, and not yet served.
        if (tries === 499) throw error
      }
    }
    await sleep(20)
  }
  throw new Error(`${child.spawnfile} does not listen`)
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** What a disk holds now, as a raw file, read from the image of a machine that is over. */
export function rawOf(image: string, raw: string, format = 'qcow2'): void {
  execFileSync('qemu-img', ['convert', '-U', '-f', format, '-O', 'raw', image, raw])
}

/** Bitmaps of a disk, each `name` with `+` where it records and `!` where it is inconsistent. */
export async function bitmapsOf(qmp: QmpClient, node: string): Promise<string[]> {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as {
    'node-name': string
    'dirty-bitmaps'?: { name?: string; recording: boolean; inconsistent?: boolean }[]
  }[]
  const found = nodes.find(each => each['node-name'] === node)?.['dirty-bitmaps'] ?? []
  return found
    .filter(({ name }) => name !== undefined)
    .map(
      ({ name = '', recording, inconsistent = false }) =>
        `${name}${recording ? '+' : ''}${inconsistent ? '!' : ''}`,
    )
}

/** All that mover may have left in a machine, but for bitmaps. */
export async function leftoversOf(qmp: QmpClient): Promise<string[]> {
  const nodes = (await qmp.execute('query-named-block-nodes', { flat: true })) as {
    'node-name': string
  }[]
  const jobs = (await qmp.execute('query-jobs')) as { id: string }[]
  const exports = (await qmp.execute('query-block-exports')) as { id: string }[]
  return [
    ...nodes.map(each => each['node-name']),
    ...jobs.map(({ id }) => id),
    ...exports.map(({ id }) => id),
  ].filter(name => name.startsWith('mover-'))
}

/** A qemu-storage-daemon that serves a qcow2 on its own NBD server, which a guest writes through. */
export async function startDaemon(
  t: Test,
  image: string,
  program = 'qemu-storage-daemon',
): Promise<{
  readonly socket: string
  readonly scratch: string
  readonly nbdSocket: string
  guest(...commands: readonly string[]): void
}> {
  const scratch = mkdtempSync(join(tmpdir(), 'qsd-'))
  t.teardown(() => rmSync(scratch, { recursive: true, force: true }))
  const [socket, nbdSocket] = [join(scratch, 'qmp'), join(scratch, 'nbd')]
  const child = spawn(
    program,
    [
      ...['--chardev', `socket,path=${socket},server=on,wait=off,id=m`],
      ...['--monitor', 'chardev=m'],
      ...['--blockdev', `driver=file,node-name=file0,filename=${image},discard=unmap`],
      ...['--blockdev', 'driver=qcow2,node-name=disk0,file=file0,discard=unmap'],
      ...['--nbd-server', `addr.type=unix,addr.path=${nbdSocket},max-connections=0`],
      ...['--export', 'type=nbd,id=guest,node-name=disk0,name=guest,writable=on'],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  child.on('error', () => {})
  t.teardown(() => end(child))
  const qmp = await connected(socket, child)
  await qmp[Symbol.asyncDispose]()
  const guest = (...commands: readonly string[]) => {
    const args = commands.flatMap(command => ['-c', command])
    execFileSync('qemu-io', ['-f', 'raw', ...args, `nbd+unix:///guest?socket=${nbdSocket}`])
  }
  return { socket, scratch, nbdSocket, guest }
}
