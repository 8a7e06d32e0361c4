import t from 'tap'
import {
  parseAudit,
  parseCodec,
  parseCount,
  parseRange,
  parseRate,
  parseTag,
  parseWordOf,
  tagsOf,
} from '../../src/cli/option-values.js'

const invalid = { code: 'ARGUMENT_INVALID' }

t.test('a codec has a level only where it is zstd', async t => {
  t.same(parseCodec('lz4'), { codec: 'lz4' })
  t.same(parseCodec('none'), { codec: 'none' })
  t.same(parseCodec('zstd'), { codec: 'zstd' })
  t.same(parseCodec('zstd:1'), { codec: 'zstd', level: 1 })
  t.same(parseCodec('zstd:19'), { codec: 'zstd', level: 19 })
  for (const text of ['', 'LZ4', 'lz4:1', 'zstd:', 'zstd:0', 'zstd:20', 'zstd:3:3', 'zstd:-1']) {
    t.throws(() => parseCodec(text), invalid, `'${text}'`)
  }
})

t.test('an audit is default, off or a percentage', async t => {
  const rows = [
    { text: 'default', audit: 'default' },
    { text: 'off', audit: 'off' },
    { text: '5', audit: 5 },
    { text: '0.5%', audit: 0.5 },
    { text: '100', audit: 100 },
  ]
  for (const { text, audit } of rows) t.equal(parseAudit(text), audit, text)
  for (const text of ['', '0', '0%', '100.1', '-1', '5 %', 'on', '1e2', 'NaN']) {
    t.throws(() => parseAudit(text), invalid, `'${text}'`)
  }
})

t.test('a range is offset and length, with units', async t => {
  t.same(parseRange('0+512'), { offset: 0, length: 512 })
  t.same(parseRange('1.5GiB+64KiB'), { offset: 1610612736, length: 65536 })
  for (const text of ['', '5', '+5', '5+', '1+2+3', '-1+5', `${2 ** 53 - 1}+1`]) {
    t.throws(() => parseRange(text), invalid, `'${text}'`)
  }
})

t.test('a rate may say that it is one, and is more than nothing', async t => {
  t.equal(parseRate('100MiB/s'), 104857600)
  t.equal(parseRate('10MB'), 10000000)
  for (const text of ['0', '0/s', '/s', '5/min']) t.throws(() => parseRate(text), invalid, text)
})

t.test('a count is a whole number from 1', async t => {
  t.equal(parseCount('8'), 8)
  for (const text of ['0', '-1', '1.5', '1e3', '', ' 1', '9007199254740993']) {
    t.throws(() => parseCount(text), invalid, `'${text}'`)
  }
})

t.test('a tag is cut at its first equals sign, and has one value', async t => {
  t.same(parseTag('a=b=c'), ['a', 'b=c'])
  t.same(parseTag('a='), ['a', ''])
  for (const text of ['', 'a', '=b']) t.throws(() => parseTag(text), invalid, `'${text}'`)
  t.same(
    tagsOf([
      ['a', '1'],
      ['__proto__', '2'],
    ]),
    Object.fromEntries([
      ['a', '1'],
      ['__proto__', '2'],
    ]),
  )
  t.throws(
    () =>
      tagsOf([
        ['a', '1'],
        ['a', '2'],
      ]),
    invalid,
  )
})

t.test('a word that is none of them is told all of them', async t => {
  const parse = parseWordOf(['exists', 'in-use'])
  t.equal(parse('in-use'), 'in-use')
  t.throws(() => parse('x'), { message: "'x' is none of exists, in-use" })
})
