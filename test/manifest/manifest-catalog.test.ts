import t from 'tap'
import type { Backend } from '../../src/backend/backend.js'
import { MemoryBackend } from '../../src/backend/memory-backend.js'
import { MoverError } from '../../src/core/errors.js'
import { commitManifest, nextLinks, readManifests } from '../../src/manifest/manifest-catalog.js'
import type { ManifestPlace } from '../../src/manifest/manifest-catalog.js'
import { encodeManifest } from '../../src/manifest/manifest-file.js'
import type { ManifestFields } from '../../src/manifest/manifest-file.js'
import { volumeKey } from '../../src/manifest/volume-key.js'
import { manifestFields } from '../support/manifest-fields.js'

const { repositoryId } = manifestFields({})
const placeOf = (backend: Backend): ManifestPlace => ({ id: repositoryId, backend })

const sessionId = (session: number): string => session.toString(16).padStart(32, '0')

/** Commits one manifest after the other, each linked to those before it. */
async function commit(
  backend: MemoryBackend,
  ...volumes: Partial<ManifestFields>[]
): Promise<void> {
  for (const [session, fields] of volumes.entries()) {
    const { manifests } = await readManifests(placeOf(backend), fields.volume ?? 'vm-1/sda')
    const links = { ...nextLinks(manifests), sessionId: sessionId(session) }
    await commitManifest(backend, manifestFields({ ...links, ...fields }))
  }
}

t.test('the key of a volume says nothing but itself, and never changes', async t => {
  t.equal(
    volumeKey('vm-42/sda'),
    '43ed541dc0ebdd72ef92e5ff73b77bdfa4d6558bd6684220c570ea5e85e3ead2',
  )
  t.not(volumeKey('vm-42/sda'), volumeKey('vm-42/sdA'))
  for (const name of ['', '../..', '/', 'a\0b', 'ü', 'x'.repeat(1024)]) {
    t.match(volumeKey(name), /^[0-9a-f]{64}$/)
  }
})

t.test('manifests are read by volume or all, oldest first', async t => {
  const backend = new MemoryBackend()
  t.strictSame(await readManifests(placeOf(backend)), { manifests: [], damaged: [] })
  await commit(backend, {}, { volume: '../etc' }, {}, {}, { volume: '../etc' })
  const { manifests, damaged } = await readManifests(placeOf(backend), 'vm-1/sda')
  t.strictSame(
    manifests.map(({ sequence }) => sequence),
    [1, 2, 3],
  )
  t.strictSame(damaged, [])
  t.equal((await readManifests(placeOf(backend), '../etc')).manifests.length, 2)
  t.equal((await readManifests(placeOf(backend))).manifests.length, 5)
  t.equal((await readManifests(placeOf(backend), 'none')).manifests.length, 0)
})

t.test('each manifest names those that no other has named', async t => {
  const backend = new MemoryBackend()
  await commit(backend, {}, {})
  const [first, second] = (await readManifests(placeOf(backend))).manifests
  t.strictSame(second?.previous, [first?.id])
  // Two at once see the same ones; the next one sees both.
  const links = nextLinks([first, second].filter(manifest => manifest !== undefined))
  await commit(backend)
  for (const session of [8, 9]) {
    await commitManifest(backend, manifestFields({ ...links, sessionId: sessionId(session) }))
  }
  const { manifests } = await readManifests(placeOf(backend))
  t.strictSame(
    manifests.map(({ sequence }) => sequence),
    [1, 2, 3, 3],
  )
  const ids = manifests
    .slice(2)
    .map(({ id }) => id)
    .sort()
  t.strictSame(nextLinks(manifests), { sequence: 4, previous: ids })
  t.strictSame(nextLinks([]), { sequence: 1, previous: [] })
})

t.test('what is committed is what was given, under the digest of its bytes', async t => {
  const backend = new MemoryBackend()
  const fields = manifestFields({ tags: { site: 'north' } })
  const { manifest, bytes } = await commitManifest(backend, fields)
  t.strictSame(manifest, { id: manifest.id, ...fields })
  t.equal(bytes, encodeManifest(fields).length)
  t.strictSame((await readManifests(placeOf(backend))).manifests, [manifest])
  await t.rejects(commitManifest(backend, fields), { code: 'OBJECT_EXISTS' })
})

t.test('a damaged manifest is never silently missing', async t => {
  const backend = new MemoryBackend()
  await commit(backend, {}, {})
  const folder = `manifests/${volumeKey('vm-1/sda')}`
  const cut = encodeManifest(manifestFields({})).subarray(0, -1)
  const planted = encodeManifest(manifestFields({ volume: 'vm-2', sessionId: sessionId(5) }))
  await backend.put(`${folder}/${sessionId(4)}`, cut)
  await backend.put(`${folder}/${sessionId(5)}`, planted)
  const foreign = manifestFields({ repositoryId: '99'.repeat(16), sessionId: sessionId(6) })
  await backend.put(`${folder}/${sessionId(6)}`, encodeManifest(foreign))
  const { manifests, damaged } = await readManifests(placeOf(backend), 'vm-1/sda')
  t.equal(manifests.length, 2)
  t.match(damaged, [
    { name: `${folder}/${sessionId(4)}`, error: { code: 'MANIFEST_CORRUPT', message: /cut|long/ } },
    { name: `${folder}/${sessionId(5)}`, error: { code: 'MANIFEST_CORRUPT', message: /place/ } },
    { name: `${folder}/${sessionId(6)}`, error: { code: 'MANIFEST_CORRUPT', message: /9999/ } },
  ])
  t.equal(damaged[0]?.volumeKey, volumeKey('vm-1/sda'))
})

t.test(
  'a manifest that cannot be read is damaged, one that was forgotten meanwhile is not',
  async t => {
    const backend = new MemoryBackend()
    await commit(backend, {}, {}, {})
    const codes = ['BACKEND_FAILED', 'OBJECT_NOT_FOUND'] as const
    let reads = 0
    const failing: MemoryBackend = new Proxy(backend, {
      get(inner, name) {
        const method: unknown = Reflect.get(inner, name)
        if (typeof method !== 'function') return method
        return (...values: unknown[]): unknown => {
          const code = name === 'get' ? codes[reads++] : undefined
          if (code !== undefined) return Promise.reject(new MoverError(code, 'injected'))
          return method.apply(name === 'getMany' ? failing : inner, values) as unknown
        }
      },
    })
    const { manifests, damaged } = await readManifests(placeOf(failing))
    t.equal(manifests.length, 1)
    t.match(damaged, [{ error: { code: 'BACKEND_FAILED' } }])
  },
)

t.test('a system that is out of something says nothing of a manifest', async t => {
  const backend = new MemoryBackend()
  await commit(backend, {}, {})
  backend.get = () => {
    const details = { os: 'EMFILE' }
    return Promise.reject(new MoverError('BACKEND_FAILED', 'injected', { details }))
  }
  const error = { code: 'BACKEND_FAILED', retryable: true }
  await t.rejects(readManifests(placeOf(backend)), error)
})

t.test('reading stops when aborted', async t => {
  const backend = new MemoryBackend()
  const signal = AbortSignal.abort()
  await t.rejects(readManifests(placeOf(backend), null, { signal }), { code: 'CANCELLED' })
  await t.rejects(commitManifest(backend, manifestFields({}), { signal }), { code: 'CANCELLED' })
})
