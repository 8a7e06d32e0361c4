import t from 'tap'
import { XdrReader, XdrWriter } from '../../../src/hypervisor/libvirt/xdr.js'

t.test('what is written is read', async t => {
  const bytes = new XdrWriter()
    .uint(0xffff_fffe)
    .int(-2)
    .string('vm-ü')
    .optionalString(null)
    .optionalString('')
    .opaque(Buffer.from([1, 2, 3]))
    .bytes()
  // RFC 4506: a string is its length, its bytes, and zeroes up to a multiple of four.
  t.equal(
    bytes.toString('hex'),
    'fffffffefffffffe00000005766d2dc3bc000000000000000000000100000000' + '01020300',
  )
  const reader = new XdrReader(bytes)
  t.strictSame(
    [reader.uint(), reader.int(), reader.string(), reader.optional(r => r.string())],
    [0xffff_fffe, -2, 'vm-ü', null],
  )
  t.equal(
    reader.optional(r => r.string()),
    '',
  )
  t.same(reader.opaque(3), Buffer.from([1, 2, 3]))
  reader.end()
})

const hex = (text: string) => new XdrReader(Buffer.from(text.replaceAll(' ', ''), 'hex'))

t.test('numbers of 64 bits are exact or refused', async t => {
  t.equal(hex('001fffffffffffff').ulong(), Number.MAX_SAFE_INTEGER)
  t.throws(() => hex('0020000000000000').ulong(), { code: 'HYPERVISOR_FAILED' })
  t.equal(hex('ffffffffffffffff').long(), -1)
  t.equal(hex('3ff8000000000000').double(), 1.5)
})

t.test('what cannot be is refused before memory is taken', async t => {
  const rows: readonly (readonly [string, (reader: XdrReader) => unknown])[] = [
    ['', r => r.uint()],
    ['000000', r => r.int()],
    ['00000004 616263', r => r.string()],
    ['ffffffff 61626364', r => r.string()],
    ['00500000 61626364', r => r.string()],
    ['00000002 00000000', r => r.optional(one => one.int())],
    ['7fffffff 00000000', r => r.array(4, one => one.int())],
    ['00000003 0000000000000000', r => r.array(4, one => one.int())],
    ['00000000', r => r.end()],
  ]
  for (const [bytes, read] of rows) {
    t.throws(() => read(hex(bytes)), { code: 'HYPERVISOR_FAILED' }, bytes)
  }
  t.strictSame(
    hex('00000002 00000001 00000002').array(4, one => one.int()),
    [1, 2],
  )
})

t.test('what libvirt would not read as it was meant is not written', async t => {
  t.throws(() => new XdrWriter().string('a\0b'), { code: 'ARGUMENT_INVALID' })
  t.throws(() => new XdrWriter().string('x'.repeat(2 ** 22 + 1)), { code: 'ARGUMENT_INVALID' })
})
