/** Verifying beside others: what they commit, merge or remove meanwhile is neither lost nor blamed. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backedUp, makeRepository, objectsOf, verified } from './support/repository.js'
import { KiB, makeVolume, MiB } from './support/volumes.js'

t.test('a reference is looked up in the listing that is verified', async t => {
  const folder = t.testdir()
  const source = join(folder, 'volume')
  await makeVolume(source, { bytes: MiB, seed: 1 })
  const repository = await makeRepository(t, join(folder, 'repository'))
  await backedUp({ source, repository, volume: 'v' })
  // Whoever looked twice could be shown a newer one, which the first listing has not.
  const once = { ...repository, resolve: () => Promise.reject(new Error('a second listing')) }
  const result = await verified({ repository: once, manifests: ['v@latest', 'v@full'] })
  t.match(result, { manifests: 1, damage: [] })
  t.not(result.chunks, 0)
})

t.test('segments that are merged away while packs are read fail nothing', async t => {
  const folder = t.testdir()
  const source = join(folder, 'volume')
  await makeVolume(source, { bytes: 2 * MiB, seed: 2 })
  const path = join(folder, 'repository')
  const repository = await makeRepository(t, path, { chunkBytes: 16 * KiB })
  await backedUp({ source, repository, volume: 'v' })
  const backend = new Proxy(repository.backend, {
    get(inner, name) {
      const method: unknown = Reflect.get(inner, name)
      if (typeof method !== 'function') return method
      return (...values: unknown[]): unknown => {
        if (name === 'list' && values[0] === 'packs/') {
          objectsOf(path, 'index').forEach(id => rmSync(join(path, 'index', id)))
        }
        return method.apply(inner, values) as unknown
      }
    },
  })
  const result = await verified({ repository: { ...repository, backend }, packs: true })
  t.match(result, { damage: [] })
  t.not(result.packs, 0)
})
