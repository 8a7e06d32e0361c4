import { promisify } from 'node:util'
import { flock } from 'fs-ext'

const lock = promisify(flock)

/**
 * Takes the exclusive flock of an open file, which lasts until it is closed or its process dies.
 * False only where another open file, in this process or any other, holds it.
 */
export async function tryLock({ fd }: { readonly fd: number }): Promise<boolean> {
  try {
    await lock(fd, 'exnb')
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EAGAIN' || code === 'EWOULDBLOCK') return false
    throw error
  }
}
