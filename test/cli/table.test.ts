import t from 'tap'
import { alignColumns, alignFields } from '../../src/cli/table.js'

t.test('cells stand under each other', async t => {
  const rows = [
    ['NAME', 'SIZE', 'TAGS'],
    ['größe', '1 B', ''],
    ['a', '1024 B', 'x=1'],
  ]
  t.strictSame(alignColumns(rows, ['left', 'right', 'left']), [
    'NAME     SIZE  TAGS',
    'größe     1 B',
    'a      1024 B  x=1',
  ])
  t.strictSame(alignColumns([], ['left']), [])
})

t.test('a million rows are no more than rows', async t => {
  const rows = Array.from({ length: 1_000_000 }, () => ['a'])
  t.equal(alignColumns(rows, ['right']).length, rows.length)
})

t.test('fields that are null are left out', async t => {
  t.strictSame(alignFields([['a', '1'], null, ['long', '2']]), ['a     1', 'long  2'])
})
