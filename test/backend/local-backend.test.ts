import { chmod, mkdir, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { backendContract } from '../contract/backend-contract.js'
import { failingDisk } from '../support/failing-disk.js'
import type { Failure } from '../support/failing-disk.js'
import { gather } from '../support/gather.js'

const CONFIG = 'config/1'
const PACK = `packs/ab/cd/abcd${'00'.repeat(30)}`
const SEGMENT = `index/${'1d'.repeat(32)}`
const SESSION = '5e'.repeat(16)

const create = (t: Test) => LocalBackend.create(join(t.testdir(), 'repository'))

backendContract('the directory backend', async t => {
  const backend = await create(t)
  return { backend, writeTemporary: (tempPath, bytes) => writeFile(tempPath, bytes) }
})

t.test('makes folders and files for one user alone', async t => {
  const backend = await create(t)
  await backend.put(PACK, Buffer.from('x'))
  const mode = async (name: string) => (await stat(join(backend.localRoot, name))).mode % 0o1000
  for (const folder of ['.', 'config', 'packs', 'packs/ab', 'packs/ab/cd', 'tmp']) {
    t.equal(await mode(folder), 0o700, folder)
  }
  t.equal(await mode(PACK), 0o600)
})

t.test(
  'creates a repository only where nothing is, and leaves what is there as it was',
  async t => {
    const dir = t.testdir({
      'a b\n"ü': {},
      full: { letter: 'dear' },
      file: 'text',
      cut: { packs: {} },
      mounted: { 'lost+found': {} },
    })
    await LocalBackend.create(join(dir, 'a b\n"ü'))
    await LocalBackend.create(join(dir, 'deep/er/still'))
    await LocalBackend.create(join(dir, 'cut'))
    await LocalBackend.create(join(dir, 'mounted'))
    const exists = { code: 'REPOSITORY_EXISTS' }
    await t.rejects(LocalBackend.create(join(dir, 'full')), { ...exists, message: /letter/ })
    t.strictSame(await readdir(join(dir, 'full')), ['letter'])
    await t.rejects(LocalBackend.create(join(dir, 'file')), { code: 'BACKEND_FAILED' })
    t.equal(await readFile(join(dir, 'file'), 'utf8'), 'text')
    const backend = await LocalBackend.create(join(dir, 'twice'))
    await LocalBackend.create(join(dir, 'twice'))
    await backend.put(CONFIG, Buffer.from('x'))
    await t.rejects(LocalBackend.create(join(dir, 'twice')), { ...exists, message: /already/ })
  },
)

t.test('opens a repository, and says clearly where there is none', async t => {
  const dir = t.testdir({ empty: {}, file: 'text', good: { config: {} } })
  t.equal((await LocalBackend.open(join(dir, 'good'))).localRoot, join(dir, 'good'))
  for (const name of ['empty', 'file', 'missing']) {
    await t.rejects(LocalBackend.open(join(dir, name)), {
      code: 'REPOSITORY_NOT_FOUND',
      message: new RegExp(name),
      remedy: /mover init/,
    })
  }
  const failing = failingDisk({ call: 'readdir', code: 'EIO' })
  await t.rejects(LocalBackend.open(join(dir, 'good'), failing), { code: 'BACKEND_FAILED' })
})

t.test('a write that fails anywhere leaves no object and no temporary file', async t => {
  const rows: (Failure & { becomes: string })[] = [
    { call: 'open', code: 'ENOSPC', becomes: 'BACKEND_FULL' },
    { call: 'open', code: 'EROFS', becomes: 'BACKEND_FAILED' },
    { call: 'write', code: 'ENOSPC', becomes: 'BACKEND_FULL' },
    { call: 'write', code: 'EDQUOT', becomes: 'BACKEND_FULL' },
    { call: 'datasync', code: 'EIO', becomes: 'BACKEND_FAILED' },
    { call: 'close', code: 'EIO', becomes: 'BACKEND_FAILED' },
    { call: 'link', code: 'EPERM', becomes: 'BACKEND_FAILED' },
    { call: 'mkdir', code: 'ENOSPC', becomes: 'BACKEND_FULL' },
    { call: 'sync', code: 'EIO', becomes: 'BACKEND_FAILED' },
    { call: 'sync', code: 'EIO', nth: 3, becomes: 'BACKEND_FAILED' },
  ]
  for (const { becomes, ...failure } of rows) {
    const { call, code, nth = 1 } = failure
    await t.test(`${call} number ${nth} fails with ${code}`, async t => {
      const { localRoot } = await create(t)
      const backend = await LocalBackend.open(localRoot, failingDisk(failure))
      await t.rejects(backend.put(PACK, Buffer.from('x')), {
        code: becomes,
        message: /packs|durable/,
      })
      const whole = await LocalBackend.open(localRoot)
      t.equal(await whole.has(PACK), false)
      t.strictSame(await readdir(join(localRoot, 'tmp')), [])
    })
  }
})

t.test('what is committed does not fail because something unused could not be removed', async t => {
  const { localRoot } = await create(t)
  const backend = await LocalBackend.open(localRoot, failingDisk({ call: 'unlink', code: 'EIO' }))
  await backend.put(CONFIG, Buffer.from('x'))
  t.equal(await backend.has(CONFIG), true)
  t.equal((await readdir(join(localRoot, 'tmp'))).length, 1)
  await t.rejects(backend.remove(CONFIG), { code: 'BACKEND_FAILED' })
})

t.test('a temporary file that is gone is no missing object', async t => {
  const backend = await create(t)
  const tempPath = `${backend.tempPrefix(SESSION)}gone`
  await t.rejects(backend.publish([{ tempPath, name: PACK }]), { code: 'BACKEND_FAILED' })
  await rm(join(backend.localRoot, 'tmp'), { recursive: true })
  await t.rejects(backend.put(PACK, Buffer.from('x')), {
    code: 'BACKEND_FAILED',
    remedy: /mounted/,
  })
})

t.test('takes only a clear "no" for a no', async t => {
  const { localRoot } = await create(t)
  const calls: (Omit<Failure, 'code'> & {
    readonly act: (backend: LocalBackend) => Promise<unknown>
  })[] = [
    { call: 'lstat', act: backend => backend.has(PACK) },
    { call: 'lstat', act: backend => backend.size(PACK) },
    { call: 'open', act: backend => backend.get(PACK, { maxBytes: 1 }) },
    { call: 'readdir', nth: 2, act: backend => gather(backend.list('packs/')) },
  ]
  for (const { act, ...failure } of calls) {
    for (const code of ['EIO', 'EACCES', 'ENOTDIR', 'ESTALE', 'ELOOP']) {
      const backend = await LocalBackend.open(localRoot, failingDisk({ ...failure, code }))
      await t.rejects(act(backend), { code: 'BACKEND_FAILED' }, `${failure.call}: ${code}`)
    }
  }
})

t.test('an empty or cut object is an error that says so', async t => {
  const backend = await create(t)
  await writeFile(join(backend.localRoot, CONFIG), '')
  await t.rejects(backend.get(CONFIG, { maxBytes: 9 }), {
    code: 'BACKEND_FAILED',
    message: /empty/,
  })
  await t.rejects(backend.getRange(CONFIG, 0, 9), {
    code: 'BACKEND_FAILED',
    message: /ends at byte 0/,
  })
})

t.test('lists no stranger, and does not call a lost folder empty', async t => {
  const backend = await create(t)
  const { localRoot } = backend
  await backend.put(PACK, Buffer.from('x'))
  await writeFile(join(localRoot, 'packs/ab/.nfs000123'), '')
  await writeFile(join(localRoot, 'packs/README'), '')
  await mkdir(join(localRoot, 'packs/lost+found'))
  t.strictSame(await gather(backend.list('packs/')), [{ name: PACK, bytes: 1 }])
  await rm(join(localRoot, 'manifests'), { recursive: true })
  const gone = { code: 'BACKEND_FAILED', message: /gone/ }
  await t.rejects(gather(backend.list('manifests/')), gone)
  await t.rejects(gather(backend.list(`manifests/${'aa'.repeat(32)}/`)), gone)
  await rm(join(localRoot, 'doubts'), { recursive: true })
  t.strictSame(await gather(backend.listNames('doubts/')), [], 'a copy may lack what is empty')
  const doubt = `doubts/${'aa'.repeat(32)}`
  await backend.put(doubt, Buffer.from('x'))
  t.strictSame(await gather(backend.listNames('doubts/')), [doubt])
})

t.test('follows no planted link, and waits for no planted pipe', async t => {
  const backend = await create(t)
  const outside = join(t.testdirName, 'secret')
  await writeFile(outside, 'secret')
  await symlink(outside, join(backend.localRoot, CONFIG))
  await t.rejects(backend.get(CONFIG, { maxBytes: 9 }), { code: 'BACKEND_FAILED' })
  await t.rejects(backend.size(CONFIG), { code: 'BACKEND_FAILED', message: /regular/ })
  await t.rejects(backend.put(CONFIG, Buffer.from('x')), { code: 'OBJECT_EXISTS' })
  t.equal(await readFile(outside, 'utf8'), 'secret')
})

t.test('a session makes its temporary files in the file system of the objects', async t => {
  const backend = await create(t)
  t.equal(backend.tempPrefix(SESSION), join(backend.localRoot, 'tmp', `${SESSION}.`))
})

t.test('needs no right to read above a directory that is there already', async t => {
  if (process.geteuid?.() === 0) return void t.pass('root may read everything')
  const dir = t.testdir({ above: { root: {} } })
  await chmod(join(dir, 'above'), 0o300)
  await LocalBackend.create(join(dir, 'above/root'))
  await chmod(join(dir, 'above'), 0o700)
})

/** A segment can be seen, and built on, as soon as it is linked: taking it away again hurts others. */
t.test('a segment whose name could not be synced stays, and others can settle it', async t => {
  const { localRoot } = await create(t)
  const failing = failingDisk({ call: 'sync', code: 'EIO' })
  const backend = await LocalBackend.open(localRoot, failing)
  await t.rejects(backend.put(SEGMENT, Buffer.from('x')), { code: 'BACKEND_FAILED' })
  await t.rejects(backend.settle('index/'), { code: 'BACKEND_FAILED', message: /durable/ })
  const other = await LocalBackend.open(localRoot)
  t.equal(await other.has(SEGMENT), true)
  await other.settle('index/')
})
