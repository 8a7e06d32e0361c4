/**
 * The folder of one backup job: what QEMU writes aside while the guest overwrites what was not read yet,
 * the socket it serves on, and a socket that answers for as long as this process lives. The job's
 * description names the folder, so that whoever finds the job can tell whether somebody still waits for it.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chown, mkdir, readdir, rm, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { basename, dirname, join, resolve } from 'node:path'
import { MoverError } from '../../core/errors.js'
import { SOCKET_PATH_BYTES_MAX } from '../../core/limits.js'

const FOLDER_NAME = /^mover-[0-9a-f]{8}-[0-9a-f]{8}$/
const NBD_SOCKET = 'nbd'
const ALIVE_SOCKET = 'alive'

/** Who QEMU runs as. */
export interface QemuOwner {
  readonly uid: number
  readonly gid: number
}

/** A folder that lives until it is disposed of; the job in it must have ended by then. */
export interface ScratchFolder extends AsyncDisposable {
  readonly socket: string
  /** Where a disk's scratch file is to be. */
  scratchOf(target: string): string
}

export interface FolderOptions {
  /** Of the domain. */
  readonly uuid: string
  readonly owner: QemuOwner | null
}

/**
 * Makes the folder of a job below the operator's. It belongs to QEMU's user, and nobody else may look
 * into it. Throws ARGUMENT_INVALID where the path is too long for a socket, and HYPERVISOR_FAILED.
 */
export async function makeScratchFolder(
  parent: string,
  { uuid, owner }: FolderOptions,
): Promise<ScratchFolder> {
  const folder = join(resolve(parent), prefixOf(uuid) + randomBytes(4).toString('hex'))
  const socket = join(folder, NBD_SOCKET)
  const alive = join(folder, ALIVE_SOCKET)
  if (Buffer.byteLength(alive) > SOCKET_PATH_BYTES_MAX) {
    throw new MoverError('ARGUMENT_INVALID', `${parent} is too long a path for a socket in it`, {
      remedy: 'name a folder with a shorter path, of at most 77 bytes',
    })
  }
  const server = createServer(visitor => visitor.destroy())
  try {
    await mkdir(folder, { mode: 0o700 })
    server.listen(alive).unref()
    await once(server, 'listening')
    if (owner !== null) await chown(folder, owner.uid, owner.gid)
  } catch (cause) {
    server.close()
    await rm(folder, { recursive: true, force: true })
    throw new MoverError('HYPERVISOR_FAILED', `cannot make a scratch folder in ${parent}`, {
      stage: 'open',
      remedy: 'name a folder that is there, with --scratch, and run mover as root',
      cause,
    })
  }
  return {
    socket,
    scratchOf: target => join(folder, `${target}.scratch`),
    async [Symbol.asyncDispose]() {
      server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Whose folder a job's socket lies in. */
export type JobOwner = 'somebody else' | 'a live mover' | 'a dead mover'

/** Tells by the path of a job's socket whose job it is. An error that proves nothing is thrown. */
export async function ownerOfSocket(socket: string | null): Promise<JobOwner> {
  if (socket === null || basename(socket) !== NBD_SOCKET) return 'somebody else'
  if (!FOLDER_NAME.test(basename(dirname(socket)))) return 'somebody else'
  return (await answers(join(dirname(socket), ALIVE_SOCKET))) ? 'a live mover' : 'a dead mover'
}

/** Removes what a dead mover left, once its job has ended. */
export async function removeDeadFolder(socket: string): Promise<void> {
  await rm(dirname(socket), { recursive: true, force: true })
}

/**
 * Removes what killed movers left below `parent` after the job of this domain had ended. Whoever calls
 * holds that no job of it is under way.
 */
export async function removeDeadFolders(parent: string, uuid: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!FOLDER_NAME.test(name) || !name.startsWith(prefixOf(uuid))) continue
    const socket = join(resolve(parent), name, NBD_SOCKET)
    if ((await ownerOfSocket(socket)) === 'a dead mover') await removeDeadFolder(socket)
  }
}

/** A folder's name tells the domain, and is short: sockets are in it. */
function prefixOf(uuid: string): string {
  return `mover-${uuid.slice(0, 8)}-`
}

/** Whether the folder is there: a folder for scratch files has to be, before a job is begun. */
export async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw new MoverError('HYPERVISOR_FAILED', `cannot look at ${path}`, { cause: error })
  }
}

/** Only who refuses, or is gone, is dead. */
async function answers(path: string): Promise<boolean> {
  const visitor = connect({ path })
  try {
    await once(visitor, 'connect')
    return true
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false
    throw new MoverError('HYPERVISOR_FAILED', `cannot tell whether the owner of ${path} lives`, {
      cause: error,
    })
  } finally {
    visitor.destroy()
  }
}
