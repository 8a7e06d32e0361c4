import { pack } from 'msgpackr'
import t from 'tap'
import { decodeRecord, encodeRecord } from '../../src/core/record.js'

t.test('gives back what was put in', async t => {
  const value = {
    none: null,
    yes: true,
    zero: 0,
    negative: -5,
    half: 0.5,
    large: Number.MAX_SAFE_INTEGER,
    small: -Number.MAX_SAFE_INTEGER,
    text: 'Größe 💾',
    bytes: new Uint8Array([1, 2, 255]),
    list: [1, [], {}, 'x'],
    deep: { deeper: { deepest: null } },
    'odd key, with comma': 1,
  }
  const decoded = decodeRecord(encodeRecord(value)) as Record<string, unknown>
  t.strictSame(
    { ...decoded, bytes: [...(decoded['bytes'] as Uint8Array)] },
    { ...value, bytes: [1, 2, 255] },
  )
  t.strictSame(decodeRecord(encodeRecord([])), [])
})

t.test('the same value gives the same bytes, as small as MessagePack allows', async t => {
  t.strictSame([...encodeRecord({ a: 1 })], [0x81, 0xa1, 0x61, 0x01])
  t.strictSame(encodeRecord({ a: 1, b: [2] }), encodeRecord({ a: 1, b: [2] }))
})

t.test('bytes that go in or come out are nobody else’s', async t => {
  const encoded = encodeRecord({ bytes: new Uint8Array([7, 7]) })
  const { bytes } = decodeRecord(encoded) as { bytes: Uint8Array }
  encoded.fill(0)
  t.equal(encoded.buffer.byteLength, encoded.length, 'not a view of an encoder’s buffer')
  t.strictSame([...bytes], [7, 7])
})

t.test('64-bit integers come back as numbers where they are safe', async t => {
  t.equal(decodeRecord(pack(2n ** 40n)), 2 ** 40)
  t.equal(decodeRecord(pack(-(2n ** 40n))), -(2 ** 40))
  for (const unsafe of [2n ** 53n, 2n ** 64n - 1n, -(2n ** 60n)]) {
    t.throws(() => decodeRecord(pack(unsafe)), RangeError, String(unsafe))
  }
})

t.test('what is not one plain value is a RangeError', async t => {
  const good = encodeRecord({ name: 'volume', list: [1, 2, 3] })
  for (let length = 0; length < good.length; length += 1) {
    t.throws(() => decodeRecord(good.subarray(0, length)), RangeError, `cut to ${length}`)
  }
  const rows = [
    { name: 'trailing byte', bytes: [...good, 0] },
    { name: 'an unused code', bytes: [0xc1] },
    { name: 'a timestamp', bytes: [...pack(new Date(0))] },
    { name: 'an extension', bytes: [0xd4, 0x33, 0x00] },
    { name: 'undefined', bytes: [...pack(undefined)] },
    { name: 'not a number', bytes: [...pack(NaN)] },
    { name: 'infinity in a list', bytes: [...pack([Infinity])] },
    { name: 'an integer beyond 2^53 as a float', bytes: [...pack(2 ** 60)] },
    { name: 'a huge array', bytes: [0xdd, 0xff, 0xff, 0xff, 0xff] },
    { name: 'a huge text', bytes: [0xdb, 0xff, 0xff, 0xff, 0xff, 0x41] },
    { name: 'nesting', bytes: [...new Array<number>(20).fill(0x91), 0xc0] },
    { name: 'much nesting', bytes: [...new Array<number>(200_000).fill(0x91), 0xc0] },
  ]
  for (const { name, bytes } of rows) {
    t.throws(() => decodeRecord(Uint8Array.from(bytes)), RangeError, name)
  }
  t.throws(() => decodeRecord(pack(Buffer.alloc(16 * 1024 * 1024))), RangeError, 'too long')
})

t.test('a key cannot reach into the prototype', async t => {
  const bytes = Uint8Array.from([0x81, 0xa9, ...Buffer.from('__proto__'), 0x81, 0xa1, 0x78, 0x01])
  const decoded = decodeRecord(bytes) as Record<string, unknown>
  t.equal(decoded['x'], undefined)
  t.equal(Object.getPrototypeOf(decoded), Object.prototype)
})

t.test('what a record cannot hold does not go in', async t => {
  const rows = [
    undefined,
    { a: undefined },
    NaN,
    2 ** 60,
    2n ** 60n,
    new Date(),
    new Map(),
    () => 1,
    [new Set()],
  ]
  rows.forEach((value, row) => t.throws(() => encodeRecord(value), RangeError, `row ${row}`))
})
