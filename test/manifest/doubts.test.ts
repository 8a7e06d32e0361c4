import t from 'tap'
import { doubtName } from '../../src/backend/object-name.js'
import { MemoryBackend } from '../../src/backend/memory-backend.js'
import {
  encodeDoubt,
  mayMissChanges,
  missingChanges,
  readDoubts,
  recordDoubt,
} from '../../src/manifest/doubts.js'
import { matchGolden } from '../support/golden.js'
import { manifestLike } from '../support/manifests.js'

const REPOSITORY_ID = '11'.repeat(16)
const DOUBT = {
  volume: 'vm-1/sda',
  fullyRead: 'f0'.repeat(32),
  slots: 3,
  createdMs: 1_700_000_000_000,
  writer: 'mover 0.1.0',
}

t.test('a doubt is written as FORMAT.md says', async t => {
  await matchGolden(t, 'doubt', encodeDoubt(REPOSITORY_ID, DOUBT))
})

t.test('a doubt is recorded once, and counts though it is damaged', async t => {
  const place = { id: REPOSITORY_ID, backend: new MemoryBackend() }
  t.strictSame(await readDoubts(place), new Set())
  await recordDoubt(place, DOUBT)
  await recordDoubt(place, { ...DOUBT, slots: 4 })
  await place.backend.put(doubtName('ab'.repeat(32)), Buffer.from('no record'))
  t.strictSame(await readDoubts(place), new Set(['ab'.repeat(32), DOUBT.fullyRead]))
})

t.test('what was made since the doubted manifest may miss changes, itself does not', async t => {
  const { fullyRead } = DOUBT
  const full = manifestLike({ id: fullyRead })
  const since = manifestLike({ id: 'a1'.repeat(32), fullyRead })
  const later = manifestLike({ id: 'a2'.repeat(32), fullyRead })
  const other = manifestLike({ id: 'b2'.repeat(32), fullyRead: 'c3'.repeat(32) })
  const doubts = new Set([fullyRead])
  t.strictSame(
    [full, since, other].map(manifest => mayMissChanges(manifest, doubts)),
    [false, true, false],
  )
  const place = { id: REPOSITORY_ID, backend: new MemoryBackend() }
  await recordDoubt(place, DOUBT)
  const warnings = await missingChanges(place, [full, since, other])
  t.match(warnings, [{ type: 'warning', code: 'MAY_MISS_CHANGES', message: new RegExp(since.id) }])
  t.equal(warnings.length, 1)
  const [all, ...rest] = await missingChanges(place, [full, since, later, other])
  t.match(all?.message, /^2 manifests of 'vm-1\/sda' may miss changes/)
  t.strictSame(rest, [], 'one warning, however many there are')
})
