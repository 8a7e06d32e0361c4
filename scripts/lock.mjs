/**
 * One set-up at a time in one clone. The lock is the name of an abstract socket: the kernel frees it
 * when its holder ends, however that ends, so it never has to be removed by hand.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Waits until no other process holds the lock of this name, takes it, and resolves to what lets it go.
 *
 * @param {string} name
 * @returns {Promise<() => void>}
 */
export async function holdLock(name) {
  let hasWaited = false
  for (;;) {
    const release = await tryLock(name)
    if (release !== null) return release
    if (!hasWaited) console.error('set-up: another one is running here; waiting for it')
    hasWaited = true
    await sleep(300)
  }
}

/**
 * @param {string} name
 * @returns {Promise<(() => void) | null>}
 */
function tryLock(name) {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', error => {
      if ('code' in error && error.code === 'EADDRINUSE') resolve(null)
      else reject(error)
    })
    // A socket's name holds 107 bytes, and a folder's may be longer.
    const digest = createHash('sha256').update(name).digest('hex')
    server.listen(`\0mover-${digest}`, () => resolve(() => void server.close()))
  })
}
