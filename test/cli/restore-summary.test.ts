import t from 'tap'
import { restoreSummary } from '../../src/cli/restore-summary.js'

const MiB = 1024 ** 2

const result = {
  operation: 'restore',
  manifest: 'ab'.repeat(32),
  volume: 'vm-42/sda',
  target: '/dev/sdx',
  onto: null,
  bytes: {
    volume: 100 * MiB,
    read: 20 * MiB,
    written: 40 * MiB,
    zero: 60 * MiB,
    unchanged: 0,
    compared: 0,
  },
  untouchedTailBytes: 0,
  readBack: false,
  dryRun: false,
  seconds: 2,
} as const

t.test('a restore is told by what was done with every byte', async t => {
  t.strictSame(restoreSummary(result), [
    'volume     vm-42/sda, 100.00 MiB',
    `manifest   ${'ab'.repeat(32)}`,
    'target     /dev/sdx',
    'written    40.00 MiB, 20.00 MiB/s',
    'zero       60.00 MiB',
    'unchanged  0 B',
    'compared   0 B',
    'read       20.00 MiB from packs',
    'read back  no',
    'time       2.0 s',
  ])
})

t.test('what was left alone is said, and a dry run claims nothing', async t => {
  const tail = restoreSummary({ ...result, untouchedTailBytes: MiB, onto: 'auto', readBack: true })
  t.ok(tail.includes("untouched  1.00 MiB after the volume's end"))
  t.ok(tail.includes('onto       auto: what the target held was read'))
  t.ok(tail.includes('read back  yes: all bytes agree'))

  const dry = restoreSummary({ ...result, dryRun: true })
  t.ok(dry.includes('to write   40.00 MiB'))
  t.notOk(dry.some(line => line.startsWith('read back')))
})
