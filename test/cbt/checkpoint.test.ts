import t from 'tap'
import { manifestAtCheckpoint, newestManifest } from '../../src/cbt/checkpoint.js'
import { manifestLike } from '../support/manifests.js'

const first = manifestLike({ id: '1a', sequence: 1, checkpoint: 'ck-1' })
const second = manifestLike({ id: '2b', sequence: 2, checkpoint: 'ck-2', createdMs: 0 })
const again = manifestLike({ id: '3c', sequence: 3, checkpoint: 'ck-1', createdMs: 0 })
const without = manifestLike({ id: '4d', sequence: 4, checkpoint: null })

t.test('the newest is the one with the highest sequence, whatever the clocks said', async t => {
  t.equal(newestManifest([first, second]), second)
  t.equal(newestManifest([second, first]), second)
  t.equal(newestManifest([]), null)
})

t.test('a checkpoint is held by the newest manifest that stands for it, or by none', async t => {
  const manifests = [first, second, again, without]
  t.equal(manifestAtCheckpoint(manifests, 'ck-2'), second)
  t.equal(manifestAtCheckpoint(manifests, 'ck-1'), again)
  for (const unknown of ['ck', 'ck-11', '', 'null']) {
    t.equal(manifestAtCheckpoint(manifests, unknown), null, unknown)
  }
})
