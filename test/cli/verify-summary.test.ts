import t from 'tap'
import { damageExitCode } from '../../src/cli/damage-lines.js'
import { verifySummary } from '../../src/cli/verify-summary.js'
import type { Damage } from '../../src/core/progress.js'

const well = {
  operation: 'verify',
  manifests: 2,
  packs: 3,
  segments: 1,
  pages: 4,
  chunks: 5,
  bytes: 5 * 65_536,
  damage: [] as Damage[],
  seconds: 0.5,
} as const

t.test('a repository that is well is told in a table', async t => {
  t.strictSame(verifySummary(well), [
    'manifests  2',
    'pages      4',
    'chunks     5, 320.00 KiB, 640.00 KiB/s',
    'segments   1',
    'packs      3',
    'time       0.5 s',
    'damage     none',
  ])
  t.equal(damageExitCode(well.damage), 0)
})

t.test('damage is told with what it hits, and makes the exit code 7', async t => {
  const manifest = 'ab'.repeat(32)
  const extents = Array.from({ length: 10 }, (_, i) => ({
    manifest,
    offset: i * 131_072,
    length: 65_536,
  }))
  const damage: Damage[] = [
    {
      kind: 'pack',
      name: 'cd',
      message: 'digest differs',
      manifests: [manifest],
      extents,
      extentsInAll: 10,
    },
  ]
  const lines = verifySummary({ ...well, damage })
  t.strictSame(lines.slice(8, 12), [
    'damaged pack cd: digest differs',
    '  hits abababababab',
    '  abababababab  0+65536',
    '  abababababab  131072+65536',
  ])
  t.ok(lines.includes('  and 2 more extents; --json lists the first 1000'))
  t.equal(damageExitCode(damage), 7)
})
