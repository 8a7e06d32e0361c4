import { formatBytes, formatDuration, formatRate } from '../core/units.js'
import type { VerifyResult } from '../verify.js'
import { damageLines } from './damage-lines.js'
import { alignFields } from './table.js'

/** What was checked, and whether all of it is well. */
export function verifySummary(result: VerifyResult): readonly string[] {
  const { damage, bytes, seconds } = result
  const rate = seconds <= 0 ? '' : `, ${formatRate(bytes / seconds)}`
  const amount = `${formatBytes(bytes)}${rate}`
  const decoded = result.chunks > 0 || result.packs === 0
  return [
    ...alignFields([
      ['manifests', String(result.manifests)],
      decoded ? ['pages', String(result.pages)] : null,
      decoded ? ['chunks', `${result.chunks}, ${amount}`] : null,
      ['segments', String(result.segments)],
      result.packs === 0
        ? null
        : ['packs', decoded ? String(result.packs) : `${result.packs}, ${amount}`],
      ['time', formatDuration(seconds)],
      ['damage', damage.length === 0 ? 'none' : String(damage.length)],
    ]),
    ...(damage.length === 0 ? [] : ['', ...damageLines(damage), '', ...REMEDY]),
  ]
}

// Nothing is healed by verify itself; these are true for every kind of damage.
const REMEDY = [
  'try: mover rebuild-index, where only segments are damaged',
  '     else move the damaged packs away (verify --packs names them) and back the volumes up again',
  '     while their sources have the bytes: what is lost is stored anew; then mover rebuild-index',
]
