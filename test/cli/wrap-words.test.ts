import t from 'tap'
import { wrapWords } from '../../src/cli/wrap-words.js'

t.test('text is broken at spaces', async t => {
  t.strictSame(wrapWords('a bb ccc dddd', 6), ['a bb', 'ccc', 'dddd'])
  t.strictSame(wrapWords('abcdefgh i', 4), ['abcdefgh', 'i'])
  t.strictSame(wrapWords('', 4), [''])
})
