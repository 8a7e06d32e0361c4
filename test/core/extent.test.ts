import t from 'tap'
import { extentEnd } from '../../src/core/extent.js'

t.test('an extent ends where the next one may begin', async t => {
  t.equal(extentEnd({ offset: 4096, length: 512 }), 4608)
  t.equal(extentEnd({ offset: 7, length: 0 }), 7)
})
