import t from 'tap'
import { listTable } from '../../src/cli/list-table.js'
import { localTime } from '../../src/cli/local-time.js'
import { manifestLike } from '../support/manifests.js'

t.test('a manifest is a row', async t => {
  const plain = manifestLike({ tags: { b: '2', a: '1' } })
  const odd = manifestLike({
    id: '0123456789abcdef',
    volume: 'a\x1b',
    mode: 'rescan',
    checkpoint: 'monday',
  })
  const created = localTime(plain.createdMs)
  t.strictSame(listTable([plain, odd]), [
    `MANIFEST      VOLUME    CREATED                    MODE        SIZE  STORED  CHECKPOINT  TAGS`,
    `abababababab  vm-1/sda  ${created}  full    1.00 MiB     0 B  -           a=1 b=2`,
    `0123456789ab  a\\x1b     ${created}  rescan  1.00 MiB     0 B  monday`,
  ])
})

t.test('an empty repository says so', async t => t.strictSame(listTable([]), ['no manifests']))
