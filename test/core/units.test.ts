import t from 'tap'
import { formatBytes, formatDuration, formatRate, parseBytes } from '../../src/core/units.js'

t.test('sizes are read as people write them', async t => {
  const rows: [string, number][] = [
    ['0', 0],
    ['512', 512],
    ['512B', 512],
    ['64KiB', 65_536],
    ['64kib', 65_536],
    ['64K', 65_536],
    ['64k', 65_536],
    [' 64 KiB ', 65_536],
    ['10MB', 10_000_000],
    ['1.1kB', 1100],
    ['1.5GiB', 1_610_612_736],
    ['0.5K', 512],
    ['2T', 2 ** 41],
    ['7PiB', 7 * 2 ** 50],
    ['1.10 MB', 1_100_000],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ]
  for (const [text, bytes] of rows) t.equal(parseBytes(text), bytes, text)
})

t.test('what is no whole number of bytes is refused', async t => {
  const rows = ['', ' ', 'K', 'KiB', '-1', '+1', '1e3', '0x10', '1.', '.5K', '1..5K', '12iB', '1KK']
  rows.push('1,5K', '0.3KiB', '1.0001', '9007199254740992', '8PiB', '1EiB', '1 2', '５', '1K\n2')
  for (const text of rows) {
    t.throws(() => parseBytes(text), { code: 'ARGUMENT_INVALID' }, JSON.stringify(text))
  }
})

t.test('sizes are written in the largest unit that fits', async t => {
  const rows: [number, string][] = [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.00 KiB'],
    [1_610_612_736, '1.50 GiB'],
    [1024 ** 2 - 1, '1.00 MiB'],
    [1023.99 * 1024, '1023.99 KiB'],
    [2 ** 40, '1.00 TiB'],
    [Number.MAX_SAFE_INTEGER, '8.00 PiB'],
    [2 ** 70, '1048576.00 PiB'],
  ]
  for (const [bytes, text] of rows) t.equal(formatBytes(bytes), text)
  t.equal(formatRate(512 * 1024 ** 2), '512.00 MiB/s')
  t.equal(formatRate(0.4), '0 B/s')
})

t.test('durations are written in their two largest units', async t => {
  const rows: [number, string][] = [
    [0, '0.0 s'],
    [2.71, '2.7 s'],
    [59.94, '59.9 s'],
    [59.96, '1 min 00 s'],
    [65, '1 min 05 s'],
    [3599.4, '59 min 59 s'],
    [3599.6, '1 h 00 min'],
    [11_045, '3 h 04 min'],
    [86_399, '23 h 59 min'],
    [86_400, '1 d 00 h'],
    [184_000, '2 d 03 h'],
  ]
  for (const [seconds, text] of rows) t.equal(formatDuration(seconds), text)
})
