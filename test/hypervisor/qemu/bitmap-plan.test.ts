import t from 'tap'
import { bitmapName, bitmapsOf, planBitmaps } from '../../../src/hypervisor/qemu/bitmap-plan.js'
import type { NodeBitmap } from '../../../src/hypervisor/qemu/block-state.js'

/** `a+` records, `a` does not, `a!` is inconsistent. */
function bitmap(text: string): NodeBitmap {
  return {
    name: text.replace(/[+!]$/, ''),
    isRecording: text.endsWith('+'),
    isInconsistent: text.endsWith('!'),
    isBusy: false,
    isPersistent: true,
    granularityBytes: 65_536,
    dirtyBytes: 0,
  }
}

/** Bitmaps as they are found, checkpoints that are committed, and what becomes of the bitmaps. */
const rows = [
  { found: '', committed: '', kept: null, lost: 'no-bitmap' },
  { found: '', committed: 'a', kept: null, lost: 'no-bitmap' },
  { found: 'a+', committed: 'a', kept: 'a' },
  { found: 'a+', committed: 'o a', kept: 'a' },
  // Killed in a first backup.
  { found: 'b+', committed: '', kept: null, lost: 'no-bitmap', remove: 'b' },
  // Killed after the transaction, before the commit.
  { found: 'a b+', committed: 'a', kept: 'a', merge: 'b', enable: true, remove: 'b' },
  // Killed after the merge, before the removal.
  { found: 'a+ b+', committed: 'a', kept: 'a', merge: 'b', remove: 'b' },
  // Killed after the commit.
  { found: 'a b+', committed: 'a b', kept: 'b', remove: 'a' },
  // The newest manifest is gone, and the older bitmap still there.
  { found: 'a+', committed: 'a c', kept: 'a' },
  // Both manifests are gone.
  { found: 'a b+', committed: '', kept: null, lost: 'no-bitmap', remove: 'a b' },
  // Somebody has disabled it.
  { found: 'a', committed: 'a', kept: null, lost: 'bitmap-disabled', remove: 'a' },
  { found: 'a b', committed: 'a', kept: null, lost: 'bitmap-disabled', remove: 'a b' },
  // QEMU has crashed.
  { found: 'a!', committed: 'a', kept: null, lost: 'bitmap-inconsistent', remove: 'a' },
  { found: 'a! b!', committed: 'a', kept: null, lost: 'bitmap-inconsistent', remove: 'a b' },
  { found: 'a b!', committed: 'a', kept: null, lost: 'bitmap-disabled', remove: 'a b' },
  { found: 'a+ b!', committed: 'a', kept: 'a', remove: 'b' },
] as const

t.test('what becomes of bitmaps', async t => {
  for (const row of rows) {
    const { found, committed } = row
    const words = (text: string) => text.split(' ').filter(word => word !== '')
    const plan = planBitmaps(words(found).map(bitmap), words(committed))
    const expected = {
      kept: row.kept,
      lost: 'lost' in row ? row.lost : null,
      merge: 'merge' in row ? words(row.merge) : [],
      enable: 'enable' in row,
      remove: 'remove' in row ? words(row.remove) : [],
    }
    t.strictSame(plan, expected, `${found || 'none'}, of which are committed: ${committed}`)
  }
})

t.test('bitmaps of others are not looked at', async t => {
  const [ours, other] = ['0123456789abcdef', '0123456789abcde0']
  const mine = bitmapName(ours, 'ff')
  const names = [mine, bitmapName(other, 'ff'), 'backup-sda', 'mover-', `x${mine}`]
  const found = bitmapsOf(
    names.map(name => bitmap(name)),
    ours,
  )
  t.strictSame(
    found.map(({ name }) => name),
    [mine],
  )
})
