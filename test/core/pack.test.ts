import t from 'tap'
import { codecOf, CODECS, ENTRY_TYPES } from '../../src/core/pack.js'

t.test('the numbers on disk never change', async t => {
  t.strictSame(CODECS, { none: 0, lz4: 1, zstd: 2 })
  t.strictSame(ENTRY_TYPES, { data: 0, page: 1 })
})

t.test('a number stands for its codec or for none', async t => {
  for (const [codec, number] of Object.entries(CODECS)) t.equal(codecOf(number), codec)
  for (const number of [-1, 3, 255, 0.5]) t.equal(codecOf(number), null, String(number))
})
