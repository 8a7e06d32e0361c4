import t from 'tap'
import { DigestSet } from '../../src/core/digest-set.js'
import { randomBytes, seededRandom } from '../support/random.js'

t.test(
  'says once that a digest is new, and has all of them after it has grown, seed 5',
  async t => {
    const random = seededRandom(5)
    const digests = Array.from({ length: 5000 }, () => randomBytes(random, 32))
    const set = new DigestSet()
    const scratch = new Uint8Array(32)
    for (const digest of digests) {
      // Scribbled over afterwards: the set must hold copies.
      scratch.set(digest)
      if (!set.add(scratch)) t.fail('a new digest is new')
      scratch.fill(0xee)
    }
    t.equal(set.size, 5000)
    t.ok(digests.every(digest => set.has(digest)))
    t.ok(digests.every(digest => !set.add(digest)))
    t.equal(set.size, 5000)
    t.ok(
      Array.from({ length: 1000 }, () => randomBytes(random, 32)).every(other => !set.has(other)),
    )
  },
)

t.test('digests that begin alike, or are all zero, are different digests', async t => {
  const set = new DigestSet()
  const alike = Array.from({ length: 2000 }, (_, number) => {
    const digest = new Uint8Array(32)
    new DataView(digest.buffer).setUint32(28, number)
    return digest
  })
  t.ok(alike.every(digest => !set.has(digest)))
  t.ok(alike.every(digest => set.add(digest)))
  t.ok(alike.every(digest => set.has(digest)))
  t.equal(set.size, 2000)
  t.throws(() => set.has(new Uint8Array(31)), { name: 'InvariantError' })
})
