import t from 'tap'
import { PageCache } from '../../src/manifest/page-cache.js'

t.test('pages used last are kept, and never more than 4,096', async t => {
  const cache = new PageCache()
  const rows = (index: number): Uint8Array => Uint8Array.of(index % 256)
  for (let index = 0; index < 4096; index += 1) cache.set(0, index, rows(index))
  t.same(cache.get(0, 0), rows(0), 'all of them are there')
  cache.set(1, 0, rows(7))
  t.equal(cache.get(0, 1), undefined, 'the one not used for longest is gone')
  t.same(cache.get(0, 0), rows(0), 'the one used since is not')
  t.same(cache.get(1, 0), rows(7), 'levels are told apart')
  cache.set(0, 0, rows(9))
  t.same(cache.get(0, 0), rows(9))
})
