import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import type { Test } from 'tap'
import type { Backend } from '../../src/backend/backend.js'
import { gather } from '../support/gather.js'

/** A fresh backend, and how a temporary file is made that it can publish. */
export interface OpenedBackend {
  readonly backend: Backend
  readonly writeTemporary: (tempPath: string, bytes: Uint8Array) => Promise<void>
}

const SESSION = '5e'.repeat(16)
const CONFIG = 'config/1'
const SEGMENT = `index/${'1d'.repeat(32)}`
const PACK = `packs/ab/cd/abcd${'00'.repeat(30)}`
const MANIFEST = `manifests/${'aa'.repeat(32)}/${'bb'.repeat(16)}`
const OTHER_MANIFEST = `manifests/${'ff'.repeat(32)}/${'bb'.repeat(16)}`

/** What every backend promises. A new backend is done when this passes. */
export function backendContract(name: string, open: (t: Test) => Promise<OpenedBackend>): void {
  t.test(`${name} keeps the backend contract`, async t => {
    t.test('gives back what was put, and keeps its own copy of it', async t => {
      const { backend } = await open(t)
      const bytes = Buffer.from('written once')
      await backend.put(PACK, bytes)
      bytes.fill(0)
      const got = await backend.get(PACK, { maxBytes: 100 })
      t.same(Buffer.from(got), Buffer.from('written once'))
      got.fill(0)
      t.same(Buffer.from(await backend.getRange(PACK, 8, 4)), Buffer.from('once'))
      t.equal(await backend.size(PACK), 12)
      t.equal(await backend.has(PACK), true)
    })

    t.test('says which object is missing, and that it is that', async t => {
      const { backend } = await open(t)
      const missing = { code: 'OBJECT_NOT_FOUND', message: new RegExp(PACK) }
      t.equal(await backend.has(PACK), false)
      await t.rejects(backend.get(PACK, { maxBytes: 1 }), missing)
      await t.rejects(backend.getRange(PACK, 0, 1), missing)
      await t.rejects(backend.size(PACK), missing)
    })

    t.test('never writes over an object', async t => {
      const { backend } = await open(t)
      await backend.put(CONFIG, Buffer.from('first'))
      await t.rejects(backend.put(CONFIG, Buffer.from('second')), { code: 'OBJECT_EXISTS' })
      t.equal(String(Buffer.from(await backend.get(CONFIG, { maxBytes: 9 }))), 'first')
    })

    t.test('lets one of many writers of a name win, and tells the others', async t => {
      const { backend } = await open(t)
      const texts = Array.from({ length: 20 }, (_, writer) => `writer ${writer}`)
      const puts = await Promise.allSettled(
        texts.map(text => backend.put(CONFIG, Buffer.from(text))),
      )
      const won = texts.filter((_, writer) => puts[writer]?.status === 'fulfilled')
      t.equal(won.length, 1)
      for (const put of puts) {
        if (put.status === 'rejected') t.match(put.reason, { code: 'OBJECT_EXISTS' })
      }
      t.equal(String(Buffer.from(await backend.get(CONFIG, { maxBytes: 99 }))), won[0])
    })

    t.test('publishes many temporary files, which are gone then', async t => {
      const { backend, writeTemporary } = await open(t)
      const files = Array.from({ length: 30 }, (_, pack) => {
        const id = pack.toString(16).padStart(2, '0').repeat(32)
        const name = `packs/${id.slice(0, 2)}/${id.slice(2, 4)}/${id}`
        return { tempPath: `${backend.tempPrefix(SESSION)}${pack}`, name }
      })
      for (const { tempPath, name } of files) await writeTemporary(tempPath, Buffer.from(name))
      await backend.publish(files)
      for (const { name } of files) {
        t.equal(String(Buffer.from(await backend.get(name, { maxBytes: 99 }))), name)
      }
      const again = files.map(({ tempPath }, nth) => ({ tempPath, name: `config/${nth + 1}` }))
      await t.rejects(backend.publish(again), { code: 'BACKEND_FAILED' }, 'the files are gone')
    })

    t.test('publishes what it can when a name is taken, and says which was', async t => {
      const { backend, writeTemporary } = await open(t)
      await backend.put(SEGMENT, Buffer.from('theirs'))
      const files = [PACK, SEGMENT, MANIFEST].map((name, nth) => {
        return { tempPath: `${backend.tempPrefix(SESSION)}${nth}`, name }
      })
      for (const { tempPath } of files) await writeTemporary(tempPath, Buffer.from('ours'))
      const taken = { code: 'OBJECT_EXISTS', message: new RegExp(SEGMENT) }
      await t.rejects(backend.publish(files), taken)
      t.equal(await backend.has(PACK), true)
      t.equal(await backend.has(MANIFEST), true)
      t.equal(String(Buffer.from(await backend.get(SEGMENT, { maxBytes: 9 }))), 'theirs')
    })

    t.test('publishes nothing when a temporary file is gone', async t => {
      const { backend, writeTemporary } = await open(t)
      const files = [PACK, SEGMENT].map((name, nth) => {
        return { tempPath: `${backend.tempPrefix(SESSION)}${nth}`, name }
      })
      await writeTemporary(files[0]?.tempPath ?? '', Buffer.from('x'))
      await t.rejects(backend.publish(files), {
        code: 'BACKEND_FAILED',
        message: new RegExp(SEGMENT),
      })
      t.equal(await backend.has(PACK), false)
    })

    t.test('gives many objects at once, and in its place what one failed with', async t => {
      const { backend } = await open(t)
      await backend.put(PACK, Buffer.from('pack'))
      await backend.put(MANIFEST, Buffer.from('a manifest'))
      const names = [MANIFEST, SEGMENT, PACK, CONFIG, PACK]
      const outcomes = await backend.getMany(names, { maxBytes: 4 })
      const told = outcomes.map(outcome =>
        outcome instanceof MoverError ? outcome.code : String(Buffer.from(outcome)),
      )
      t.strictSame(told, ['BACKEND_FAILED', 'OBJECT_NOT_FOUND', 'pack', 'OBJECT_NOT_FOUND', 'pack'])
      t.strictSame(await backend.getMany([], { maxBytes: 4 }), [])
      t.strictSame(await gather(backend.listNames('manifests/')), [MANIFEST])
    })

    t.test('lists what it holds in order, each kind by itself', async t => {
      const { backend } = await open(t)
      const names = [PACK, MANIFEST, SEGMENT, OTHER_MANIFEST, CONFIG]
      for (const name of names) await backend.put(name, Buffer.from(name))
      const rows = [
        { prefix: 'config/' as const, listed: [CONFIG] },
        { prefix: 'packs/' as const, listed: [PACK] },
        { prefix: 'index/' as const, listed: [SEGMENT] },
        { prefix: 'manifests/' as const, listed: [MANIFEST, OTHER_MANIFEST] },
        { prefix: `manifests/${'ff'.repeat(32)}/` as const, listed: [OTHER_MANIFEST] },
        { prefix: `manifests/${'00'.repeat(32)}/` as const, listed: [] },
        { prefix: 'sessions/' as const, listed: [] },
      ]
      for (const { prefix, listed } of rows) {
        const objects = await gather(backend.list(prefix))
        const expected = listed.map(name => ({ name, bytes: name.length }))
        t.same(objects, expected, prefix)
      }
    })

    t.test('settles what was published, whatever it is', async t => {
      const { backend } = await open(t)
      await backend.settle('index/')
      await backend.put(SEGMENT, Buffer.from('mine'))
      await backend.settle('index/')
      t.equal(await backend.has(SEGMENT), true)
      const signal = AbortSignal.abort(new Error('enough'))
      await t.rejects(backend.settle('index/', { signal }), { code: 'CANCELLED' })
    })

    t.test('removes an object, or finds it gone', async t => {
      const { backend } = await open(t)
      await backend.put(SEGMENT, Buffer.from('replaced'))
      await backend.remove(SEGMENT)
      t.equal(await backend.has(SEGMENT), false)
      await backend.remove(SEGMENT)
    })

    t.test('refuses more bytes than were asked for, and fewer', async t => {
      const { backend } = await open(t)
      await backend.put(PACK, Buffer.from('12345'))
      t.equal((await backend.get(PACK, { maxBytes: 5 })).length, 5)
      await t.rejects(backend.get(PACK, { maxBytes: 4 }), { code: 'BACKEND_FAILED' })
      t.equal((await backend.getRange(PACK, 4, 1)).length, 1)
      await t.rejects(backend.getRange(PACK, 4, 2), { code: 'BACKEND_FAILED', message: /ends at/ })
      await t.rejects(backend.getRange(PACK, 9, 1), { code: 'BACKEND_FAILED', message: /ends at/ })
    })

    t.test('takes no name that is a path', async t => {
      const { backend } = await open(t)
      const hostile = [
        '../x',
        'packs/../config/1',
        '/etc/passwd',
        'packs',
        '',
        'config/1/',
        'index/x',
      ]
      for (const name of hostile) {
        await t.rejects(backend.get(name, { maxBytes: 1 }), { name: 'InvariantError' }, name)
        await t.rejects(backend.put(name, Buffer.from('x')), { name: 'InvariantError' }, name)
        await t.rejects(backend.remove(name), { name: 'InvariantError' }, name)
      }
    })

    t.test('stops when aborted', async t => {
      const { backend } = await open(t)
      const signal = AbortSignal.abort(new Error('enough'))
      const cancelled = { code: 'CANCELLED' }
      await t.rejects(backend.put(CONFIG, Buffer.from('x'), { signal }), cancelled)
      await t.rejects(backend.get(CONFIG, { maxBytes: 1, signal }), cancelled)
      await t.rejects(backend.getRange(CONFIG, 0, 1, { signal }), cancelled)
      await t.rejects(backend.has(CONFIG, { signal }), cancelled)
      await t.rejects(gather(backend.list('config/', { signal })), cancelled)
      t.equal(await backend.has(CONFIG), false)
    })
  })
}
