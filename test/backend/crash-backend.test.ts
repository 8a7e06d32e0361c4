import t from 'tap'
import type { Disk } from '../../src/backend/disk.js'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { NEW_FILE } from '../../src/backend/open-flags.js'
import { backendContract } from '../contract/backend-contract.js'
import { CRASH_ROOT, createCrashBackend } from '../support/crash-backend.js'
import type { CrashDisk, Unsynced } from '../support/crash-backend.js'
import { gather } from '../support/gather.js'

const MANIFEST = `manifests/${'aa'.repeat(32)}/${'bb'.repeat(16)}`
const SEGMENT = `index/${'1d'.repeat(32)}`
const SESSION = '5e'.repeat(16)
const PACKS = ['00', '01', 'f0'].map(byte => `packs/${byte}/${byte}/${byte.repeat(32)}`)

backendContract('the directory backend on a crash disk', async () => {
  const { backend, disk } = await createCrashBackend()
  return { backend, writeTemporary: (path, bytes) => writeSynced(disk, path, bytes) }
})

t.test(
  'what was promised outlasts a power cut at any step, and the rest is whole or absent',
  async t => {
    for (const unsynced of ['forgotten', 'named'] as const) {
      for (let steps = 0, isDone = false; !isDone; steps += 1) {
        const { disk, promised } = await backUpUntil(steps, disk => disk)
        isDone = promised.includes(MANIFEST)
        const found = await objectsAfter(disk, unsynced)
        for (const name of promised) t.equal(found.get(name), name, `${name} after ${steps} steps`)
        for (const [name, text] of found)
          t.equal(text, name, `${name} after ${steps} steps is whole`)
        // The manifest names the packs: it may be there only if they are.
        if (found.has(MANIFEST)) t.equal(found.size, 1 + PACKS.length)
      }
    }
  },
)

t.test('the crash disk catches a backend that forgets to sync', async t => {
  const lazy: Record<string, (disk: CrashDisk) => Disk> = {
    'files are not synced': disk => without(disk, 'datasync'),
    'folders are not synced': disk => without(disk, 'sync'),
  }
  for (const [name, spoil] of Object.entries(lazy)) {
    const { disk, promised } = await backUpUntil(Infinity, spoil)
    t.equal(promised.length, 1 + PACKS.length)
    const found = await objectsAfter(disk, name.startsWith('files') ? 'named' : 'forgotten')
    const lost = promised.filter(object => found.get(object) !== object)
    t.not(lost.length, 0, name)
  }
})

/** Packs, then the manifest; says which of them were promised before the power was cut. */
async function backUpUntil(steps: number, spoil: (disk: CrashDisk) => Disk) {
  const { disk } = await createCrashBackend()
  const backend = await LocalBackend.open(CRASH_ROOT, spoil(disk))
  const files = PACKS.map((name, nth) => ({
    tempPath: `${backend.tempPrefix(SESSION)}${nth}`,
    name,
  }))
  for (const { tempPath, name } of files) await writeSynced(disk, tempPath, Buffer.from(name))
  disk.cutPowerAfter(steps)
  const promised: string[] = []
  try {
    await backend.publish(files)
    promised.push(...PACKS)
    await backend.put(MANIFEST, Buffer.from(MANIFEST))
    promised.push(MANIFEST)
  } catch (error) {
    t.match(error, { code: 'BACKEND_FAILED' })
  }
  return { disk, promised }
}

async function objectsAfter(disk: CrashDisk, unsynced: Unsynced): Promise<Map<string, string>> {
  const backend = await LocalBackend.open(CRASH_ROOT, disk.afterCrash(unsynced))
  const found = new Map<string, string>()
  for (const prefix of ['packs/', 'manifests/'] as const) {
    for (const { name, bytes } of await gather(backend.list(prefix))) {
      const isEmpty = bytes === 0
      found.set(
        name,
        isEmpty ? '' : String(Buffer.from(await backend.get(name, { maxBytes: 999 }))),
      )
    }
  }
  return found
}

async function writeSynced(disk: CrashDisk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, NEW_FILE)
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, bytes.length - done, done)).bytesWritten
  }
  await file.datasync()
}

/** The disk with one kind of sync that does nothing. */
function without(disk: CrashDisk, sync: 'sync' | 'datasync'): Disk {
  return {
    open: async (path, flags) => ({ ...(await disk.open(path, flags)), [sync]: async () => {} }),
    link: (path, name) => disk.link(path, name),
    unlink: path => disk.unlink(path),
    mkdir: path => disk.mkdir(path),
    readdir: path => disk.readdir(path),
    lstat: path => disk.lstat(path),
  }
}

t.test(
  'what another session published and did not sync outlasts a power cut once settled',
  async t => {
    for (const isSettled of [true, false]) {
      const { backend, disk } = await createCrashBackend()
      const tempPath = `${backend.tempPrefix(SESSION)}segment`
      await writeSynced(disk, tempPath, Buffer.from('segment'))
      await disk.link(tempPath, `${CRASH_ROOT}/${SEGMENT}`)
      if (isSettled) await backend.settle('index/')
      const after = await LocalBackend.open(CRASH_ROOT, disk.afterCrash('forgotten'))
      t.equal(await after.has(SEGMENT), isSettled)
    }
  },
)
