import t from 'tap'
import { decodeZstd } from '../../src/native/zstd.js'
import { randomInteger, seededRandom } from '../support/random.js'

/** Frames made by the zstd tool 1.5.4: nothing here depends on an encoder of ours. */
const frames = [
  {
    name: 'level 1',
    plain: linesOf(4096),
    stored:
      'KLUv/WAAD9UDAAIEDBCwtQ2XX1JBbkmbNl+tQkEJP6OZbcW6th1TSb8i/bulmLn6NRU974QRkAKIMAJSAiEA5dYbDwCfagQUBKSQAcgYZAwyAsJAbiA3kBvk1gUiwBhgDDBwDcEMEwZGA7mB3GqIiDDBYGAwMBgYDAwGXhkIBgND0FC+',
  },
  {
    name: 'level 19',
    plain: linesOf(4096),
    stored:
      'KLUv/WAAD+UCALJDCxCwqQOPL6lgCZGbiLwKVlAC4EJIWmK08l8dc1wxsnd9iqpy7w5j6y4ggkkHBR2oEEh71nApTOEBEBIRvf///xsG1ye0rUCN22H2Gkh2/ppqUV/x841dIGBT',
  },
  {
    name: 'several blocks',
    plain: linesOf(300_000),
    stored:
      'KLUv/aDgkwQAHAQA9ANsaW5lIDAKbGluZSAxNDkxNjI1MzY0OTY0ODExMDI0NDY5OTYyMjU4OTMyNDM2MTQ0NDQ4NTI1NzY2NzcyNzgeAPn+esvAMg8Ah4HDwCF4DLgGXAOugWtdeALgAcYAA9cQzDBhYDSQG8ithogIEwwGBgODgcHAKwPnHAgGA0PQUL5MAAAIMwEA/P85EAJNAAAIaQEA3BMdCAE=',
  },
  {
    name: 'several blocks, a small window',
    plain: linesOf(300_000),
    stored:
      'KLUv/YA44JMEABwEAPQDbGluZSAwCmxpbmUgMTQ5MTYyNTM2NDk2NDgxMTAyNDQ2OTk2MjI1ODkzMjQzNjE0NDQ0ODUyNTc2Njc3Mjc4HgD5/nrLwDIPAIeBw8AheAy4BlwDroFrXXgC4AHGAAPXEMwwYWA0kBvIrYaICBMMBgYDg4HBwCsD5xwIBgND0FC+VAAAEDM2AQD7/znAAk0AAAhpAQDcEx0IAQ==',
  },
  {
    name: 'with a checksum',
    plain: linesOf(4096),
    stored:
      'KLUv/WQAD/0DAKQDbGluZSAwCjE0OTE2MjUzNjQ5NjQ4MTEwMjQ0Njk5NjIyNTg5MzI0MzYxNDQ0NDg1MjU3NjY3NzI3OB8A+dabB5Z5ADgMHAYOwWPANeAacA1c68ITAA8wBhi4hmCGCQOjgdxAbjVERJhgMDAYGAwMBl4ZGKiBYDAwBMzVVYwUSTVR',
  },
  {
    name: 'without its length',
    plain: linesOf(4096),
    stored:
      'KLUv/QBYHQQA9ANsaW5lIDAKbGluZSAxNDkxNjI1MzY0OTY0ODExMDI0NDY5OTYyMjU4OTMyNDM2MTQ0NDQ4NTI1NzY2NzcyNzgeAPnWmweWeQA4DBwGDsFjwDXgGnANXOvCEwAPMAYYuIZghgkDo4HcQG41RESYYDAwGBgMDAZeGTjnQDAYGIKG8gU=',
  },
  { name: 'one run', plain: Buffer.alloc(65_536, 7), stored: 'KLUv/WAA/1UAABAHBwEA+38dYAE=' },
].map(frame => ({ ...frame, stored: new Uint8Array(Buffer.from(frame.stored, 'base64')) }))

function linesOf(length: number): Uint8Array {
  const lines = Array.from({ length: length / 4 }, (_, line) => `line ${(line % 29) ** 2}\n`)
  return Buffer.from(lines.join('').slice(0, length))
}

t.test('decodes what the reference encoder wrote', async t => {
  for (const { name, plain, stored } of frames) {
    const decoded = decodeZstd(stored, plain.length)
    t.ok(Buffer.compare(decoded, plain) === 0, name)
    const inside = new Uint8Array(stored.length + 9)
    inside.set(stored, 3)
    const view = inside.subarray(3, 3 + stored.length)
    t.ok(Buffer.compare(decodeZstd(view, plain.length), plain) === 0, `${name}, as a view`)
  }
})

t.test('another length than the recorded one is refused', async t => {
  for (const { name, plain, stored } of frames) {
    for (const plainBytes of [1, plain.length - 1]) {
      const more = { code: 'CODEC_FAILED', message: new RegExp(`holds more than ${plainBytes} `) }
      t.throws(() => decodeZstd(stored, plainBytes), more, name)
    }
    for (const plainBytes of [plain.length + 1, plain.length * 2]) {
      const fewer = { code: 'CODEC_FAILED', message: new RegExp(`instead of ${plainBytes}`) }
      t.throws(() => decodeZstd(stored, plainBytes), fewer, name)
    }
  }
  for (const plainBytes of [0, -1, 4 * 1024 * 1024 + 1, NaN]) {
    t.throws(() => decodeZstd(new Uint8Array(9), plainBytes), { name: 'InvariantError' })
  }
})

t.test('a cut frame, and anything after a frame, is refused', async t => {
  for (const { name, plain, stored } of frames) {
    for (let length = 0; length < stored.length; length += 1) {
      const cut = stored.subarray(0, length)
      t.throws(
        () => decodeZstd(cut, plain.length),
        { code: 'CODEC_FAILED' },
        `${name} cut to ${length}`,
      )
    }
    const longer = Buffer.concat([stored, Buffer.of(0)])
    t.throws(() => decodeZstd(longer, plain.length), { code: 'CODEC_FAILED' }, `${name} and a byte`)
    const twice = Buffer.concat([stored, stored])
    t.throws(() => decodeZstd(twice, plain.length * 2), { code: 'CODEC_FAILED' }, `${name} twice`)
  }
})

t.test('a header that claims gigabytes is refused before they are allocated', async t => {
  const window = Buffer.from('28b52ffd00f8010000', 'hex')
  const single = Buffer.from('28b52ffda0ffffff7f010000', 'hex')
  const singleHuge = Buffer.from('28b52ffde0ffffffffffffff7f010000', 'hex')
  for (const stored of [window, single, singleHuge]) {
    t.throws(() => decodeZstd(stored, 4096), { code: 'CODEC_FAILED', message: /window/ })
  }
})

t.test('damaged frames never come out with another length, seed 1', async t => {
  const random = seededRandom(1)
  let refused = 0
  for (let round = 0; round < 700; round += 1) {
    const { plain, stored } = frames[round % frames.length] ?? frames[0]!
    const damaged = stored.slice()
    for (let flip = 0; flip <= round % 3; flip += 1) {
      const byte = randomInteger(random, { from: 0, to: damaged.length - 1 })
      damaged[byte] = (damaged[byte] ?? 0) ^ (1 << randomInteger(random, { from: 0, to: 7 }))
    }
    try {
      const length = decodeZstd(damaged, plain.length).length
      if (length !== plain.length) t.fail(`round ${round}: ${length} bytes`)
    } catch (error) {
      refused += 1
      if ((error as { code?: string }).code !== 'CODEC_FAILED')
        t.fail(`round ${round}: ${String(error)}`)
    }
  }
  t.ok(refused > 200, `${refused} of 700 were refused; the digest catches the others`)
})
