import t from 'tap'
import { OpenPage } from '../../src/manifest/open-page.js'
import { contentsOf, rowsFor } from '../support/trees.js'

t.test('a page is filled, taken, and filled again', async t => {
  const page = new OpenPage()
  t.equal(page.take(), null, 'it begins empty')
  page.add(rowsFor([0, 4]))
  page.add(rowsFor([5]))
  t.equal(page.count, 3)
  const rows = page.take() ?? new Uint8Array(0)
  t.strictSame(contentsOf(rows), [0, 4, 5])
  t.strictSame([rows[0], rows[33], rows[66]], [0, 1, 1], 'known and stored are both data')
  t.equal(page.count, 0)
  page.add(rowsFor([0, 0]))
  t.equal(page.take(), null, 'a page of zeroes is none')
  t.throws(() => page.add(rowsFor(Array(129).fill(0))), { name: 'RangeError' })
})
