import t from 'tap'
import type { BackupResult } from '../../src/backup.js'
import { backupSummary } from '../../src/cli/backup-summary.js'

const MiB = 1024 ** 2

const result: BackupResult = {
  operation: 'backup',
  volume: 'vm-42/sda',
  manifest: '3fa9c1d2e4b5'.padEnd(64, '0'),
  root: 'cd'.repeat(32),
  parent: '8b1a99530011'.padEnd(64, '0'),
  mode: 'rescan',
  requested: 'incremental',
  reason: 'lineage',
  bytes: {
    volume: 1024 * MiB,
    read: 1024 * MiB,
    carried: 0,
    zero: 512 * MiB,
    deduplicated: 412 * MiB,
    stored: 100 * MiB,
    written: 40 * MiB,
  },
  audit: { slots: 0, bytes: 0 },
  checkpoint: 'monday',
  packs: 3,
  dryRun: false,
  seconds: 2,
  writer: 'mover 0.1.0',
}

t.test('a backup is told by mode and by the outcome of every byte', async t => {
  t.strictSame(backupSummary(result, ' --repo /backup'), [
    'volume        vm-42/sda, 1.00 GiB',
    `manifest      ${result.manifest}`,
    'mode          rescan, not incremental: no usable backup stands for the checkpoint from which the change map counts',
    'parent        8b1a99530011',
    'checkpoint    monday',
    'read          1.00 GiB, 512.00 MiB/s',
    'carried       0 B',
    'zero          512.00 MiB',
    'deduplicated  412.00 MiB',
    'stored        100.00 MiB',
    'written       40.00 MiB, in 3 packs',
    'audit         none needed: all was read',
    'time          2.0 s',
    '',
    'next: mover restore 3fa9c1d2e4b5 TARGET --repo /backup',
    '      mover verify 3fa9c1d2e4b5 --repo /backup',
    '      mover list vm-42/sda --repo /backup',
  ])
})

t.test('a dry run claims nothing that it did not do', async t => {
  const planned = {
    ...result,
    manifest: null,
    root: null,
    dryRun: true,
    mode: 'full',
    requested: 'full',
    reason: null,
    parent: null,
    checkpoint: null,
  } as const
  t.strictSame(backupSummary(planned, ''), [
    'volume    vm-42/sda, 1.00 GiB',
    'manifest  none: a dry run',
    'mode      full',
    'to read   1.00 GiB',
    'carried   0 B',
    'zero      512.00 MiB',
    'time      2.0 s',
  ])
})
