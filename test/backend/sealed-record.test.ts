import t from 'tap'
import {
  SEALED_BYTES_MAX,
  sealRecord,
  sealedDigest,
  unsealRecord,
} from '../../src/backend/sealed-record.js'
import type { RecordKind } from '../../src/backend/sealed-record.js'
import { deriveDigest } from '../../src/native/blake3.js'
import { flipBit } from '../support/flip-bit.js'
import { goldenBytes, matchGolden } from '../support/golden.js'

const CONFIG: RecordKind = {
  magic: 'MOVRCONF',
  context: 'mover 1 config',
  corrupt: 'CONFIG_CORRUPT',
}

const VALUE = {
  format: 1,
  repositoryId: '0123456789abcdef0123456789abcdef',
  features: { read: [], write: [], optional: [] },
  defaults: { chunkBytes: 65_536, codec: 'lz4', level: 0, packBytes: 16_777_216 },
  encryption: 'none',
  createdMs: 1_700_000_000_000,
}

t.test('a config is sealed as FORMAT.md says', async t => {
  await matchGolden(t, 'config', sealRecord(CONFIG, VALUE))
  t.strictSame(unsealRecord(CONFIG, await goldenBytes('config')), VALUE)
})

t.test('a record carries the digest of its header and body', async t => {
  const sealed = sealRecord(CONFIG, VALUE)
  const digest = deriveDigest(CONFIG.context, sealed.subarray(0, -36))
  t.same(sealedDigest(sealed), digest)
})

t.test('every flipped bit, cut and addition is refused', async t => {
  const good = Buffer.from(sealRecord(CONFIG, VALUE))
  const refused = { code: 'CONFIG_CORRUPT', message: /^config\/1 / }
  const open = (bytes: Uint8Array) => () => unsealRecord(CONFIG, bytes, 'config/1')
  for (let bit = 0; bit < good.length * 8; bit += 1) {
    t.throws(open(flipBit(good, bit)), refused, `bit ${bit}`)
  }
  for (let length = 0; length < good.length; length += 1)
    t.throws(open(good.subarray(0, length)), refused)
  t.throws(open(Buffer.concat([good, Buffer.alloc(1)])), refused, 'a byte behind')
  t.throws(open(Buffer.alloc(SEALED_BYTES_MAX + 1)), refused, 'too long')
})

t.test('a record of one kind does not pass for another', async t => {
  const other = { ...CONFIG, magic: 'MOVRMANI' }
  t.throws(() => unsealRecord(other, sealRecord(CONFIG, VALUE)), { code: 'CONFIG_CORRUPT' })
  const context = { ...CONFIG, context: 'mover 1 manifest' }
  t.throws(() => unsealRecord(context, sealRecord(CONFIG, VALUE)), { code: 'CONFIG_CORRUPT' })
})

t.test('a whole record with bytes that mean nothing yet is refused', async t => {
  const rows = [
    { name: 'a newer version', at: 8, value: 2, code: 'REPOSITORY_UNSUPPORTED' },
    { name: 'version 0', at: 8, value: 0, code: 'CONFIG_CORRUPT' },
    { name: 'a reserved byte', at: 10, value: 1, code: 'CONFIG_CORRUPT' },
    { name: 'another', at: 31, value: 1, code: 'CONFIG_CORRUPT' },
    { name: 'a body that is no record', at: 32, value: 0xc1, code: 'CONFIG_CORRUPT' },
  ]
  for (const { name, at, value, code } of rows) {
    const bytes = Buffer.from(sealRecord(CONFIG, VALUE))
    bytes[at] = value
    const digestAt = bytes.length - 36
    bytes.set(deriveDigest(CONFIG.context, bytes.subarray(0, digestAt)), digestAt)
    t.throws(() => unsealRecord(CONFIG, bytes), { code }, name)
  }
})
