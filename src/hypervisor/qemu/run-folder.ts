/**
 * The folder of one run, in the operator's scratch folder: what the guest overwrites meanwhile, the socket
 * that the frozen disks are read through, and a socket on which the run itself listens, so that another
 * one can tell a live run from a killed one: a dead process refuses connections.
 */
import { randomBytes } from 'node:crypto'
import { chown, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { basename, dirname, join, resolve } from 'node:path'
import { MoverError } from '../../core/errors.js'
import { SOCKET_PATH_BYTES_MAX } from '../../core/limits.js'

export interface RunFolder extends AsyncDisposable {
  readonly path: string
  /** Where QEMU's NBD server is to listen. */
  readonly nbdSocket: string
  scratchFile(disk: string): string
}

const NAME = /^mover-[0-9a-f]{16}$/
const ALIVE = 'alive'
/** Says whose run it is, by the path of the QMP socket. */
const MACHINE = 'machine'

/**
 * Makes a run's folder in `scratch`, which QEMU has to be able to write to: it belongs to whom QEMU's own
 * socket belongs to. Removes those that killed runs of the same machine left, but for those in `inUse`. Throws ARGUMENT_INVALID for
 * a path that is too long, and HYPERVISOR_FAILED where it cannot be made.
 */
export async function makeRunFolder(
  scratch: string,
  qmpSocket: string,
  inUse: ReadonlySet<string>,
): Promise<RunFolder> {
  const parent = resolve(scratch)
  await sweep(parent, qmpSocket, inUse)
  const path = join(parent, `mover-${randomBytes(8).toString('hex')}`)
  const within = Buffer.byteLength(join(path, ALIVE)) - Buffer.byteLength(parent)
  if (Buffer.byteLength(parent) > SOCKET_PATH_BYTES_MAX - within) {
    throw new MoverError(
      'ARGUMENT_INVALID',
      `the path '${parent}' is too long for a socket in it`,
      {
        remedy: `name a scratch folder with a shorter path, of at most ${SOCKET_PATH_BYTES_MAX - within} bytes`,
      },
    )
  }
  let server: Server | null = null
  try {
    await mkdir(path, { mode: 0o700 })
    server = await listen(join(path, ALIVE))
    await writeFile(join(path, MACHINE), resolve(qmpSocket))
    await giveTo(path, qmpSocket)
    return folderOf(path, server)
  } catch (cause) {
    server?.close()
    await rm(path, { recursive: true, force: true })
    throw failed(`cannot make a folder in '${parent}'`, cause)
  }
}

/**
 * Whether the run lives that made the folder. Throws HYPERVISOR_REFUSED where that cannot be told, because
 * this process does not see the folder at all.
 */
export async function isRunAlive(path: string): Promise<boolean> {
  const seen = await stat(path).catch(() => null)
  if (seen === null) {
    throw new MoverError(
      'HYPERVISOR_REFUSED',
      `a backup may be under way: its folder '${path}' is not seen here`,
      {
        stage: 'open',
        remedy:
          'run mover where that folder is seen; or, when it is certain that no mover runs, make an ' +
          'empty folder of that name, and what it left in QEMU is cleared',
      },
    )
  }
  return new Promise((resolve, reject) => {
    const socket = connect(join(path, ALIVE))
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const isDead = error.code === 'ECONNREFUSED' || error.code === 'ENOENT'
      if (isDead) resolve(false)
      else reject(failed(`cannot tell whether the backup of '${path}' is under way`, error))
    })
  })
}

/** The folder of the run to which a scratch file belongs; null where it is none of ours. */
export function runFolderOf(scratchFile: string): string | null {
  const folder = dirname(scratchFile)
  return NAME.test(basename(folder)) ? folder : null
}

/** Removes what a dead run left, once QEMU uses none of it. */
export async function removeRunFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true })
}

/** Whether QEMU's NBD server listens in a run's folder, and is therefore that run's. */
export async function hasNbdSocket(path: string): Promise<boolean> {
  return (await readdir(path)).includes('nbd')
}

function folderOf(path: string, server: Server): RunFolder {
  return {
    path,
    nbdSocket: join(path, 'nbd'),
    scratchFile: disk => join(path, `${disk}.qcow2`),
    async [Symbol.asyncDispose]() {
      await removeRunFolder(path)
      server.close()
    },
  }
}

async function listen(path: string): Promise<Server> {
  const server = createServer(socket => socket.destroy())
  server.unref()
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    server.listen(path, () => resolve(server))
  })
}

/** QEMU often runs as a user of its own; its monitor's socket is that user's. */
async function giveTo(path: string, qmpSocket: string): Promise<void> {
  const { uid, gid } = await stat(qmpSocket)
  if (process.getuid?.() === 0 && uid !== 0) await chown(path, uid, gid)
}

/** Of other machines nothing is removed: what their QEMU still uses is known to it alone. */
async function sweep(parent: string, qmpSocket: string, inUse: ReadonlySet<string>): Promise<void> {
  const names = await readdir(parent).catch((cause: unknown) => {
    throw failed(`cannot read the scratch folder '${parent}'`, cause)
  })
  for (const name of names.filter(name => NAME.test(name))) {
    const path = join(parent, name)
    const machine = await readFile(join(path, MACHINE), 'utf8').catch(() => null)
    if (machine !== resolve(qmpSocket) || inUse.has(path)) continue
    if (!(await isRunAlive(path))) await removeRunFolder(path)
  }
}

function failed(what: string, cause: unknown): MoverError {
  if (cause instanceof MoverError) return cause
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MoverError('HYPERVISOR_FAILED', `${what}: ${why}`, {
    stage: 'open',
    remedy: '--scratch names a folder that mover and QEMU can both write to',
    cause,
  })
}
