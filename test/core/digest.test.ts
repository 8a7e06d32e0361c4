import t from 'tap'
import { digestHex, digestsEqual, isDigestHex, parseDigestHex } from '../../src/core/digest.js'

const HEX = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1dfeff'

t.test('hex and back', async t => {
  const digest = parseDigestHex(HEX)
  t.equal(digest.length, 32)
  t.equal(digest[31], 0xff)
  t.equal(digestHex(digest), HEX)
  const inside = new Uint8Array(40)
  inside.set(digest, 5)
  t.equal(digestHex(inside.subarray(5, 37)), HEX, 'also as a view into something larger')
})

t.test('what is not 64 lower-case hex digits is refused', async t => {
  const rows = ['', HEX.slice(1), `${HEX}0`, HEX.toUpperCase(), HEX.replace('f', 'g'), `${HEX}\n`]
  for (const text of rows) {
    t.equal(isDigestHex(text), false, JSON.stringify(text))
    t.throws(() => parseDigestHex(text), { code: 'ARGUMENT_INVALID' }, JSON.stringify(text))
  }
  t.throws(() => digestHex(new Uint8Array(31)), { name: 'InvariantError' })
})

t.test('digests are equal when all their bytes are', async t => {
  const digest = parseDigestHex(HEX)
  t.equal(digestsEqual(digest, digest.slice()), true)
  for (const byte of [0, 15, 31]) {
    const other = digest.slice()
    other[byte] = (other[byte] ?? 0) ^ 1
    t.equal(digestsEqual(digest, other), false, `byte ${byte}`)
  }
  t.throws(() => digestsEqual(digest, digest.subarray(1)), { name: 'InvariantError' })
})
