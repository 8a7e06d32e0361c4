import type { Damage } from '../core/progress.js'
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
    ...(damage.length === 0 ? [] : ['', ...damageLines(damage), '', ...remedyLines(damage)]),
  ]
}

/** What to do about it: nothing is healed by verify itself. */
function remedyLines(damage: readonly Damage[]): readonly string[] {
  const kinds = new Set(damage.map(({ kind }) => kind))
  const lines = REMEDIES.filter(({ of }) => of.some(kind => kinds.has(kind))).map(
    ({ says }) => says,
  )
  return lines.map((line, index) => `${index === 0 ? 'try: ' : '     '}${line}`)
}

const REMEDIES: readonly { readonly of: readonly Damage['kind'][]; readonly says: string }[] = [
  {
    of: ['segment', 'chunk', 'page'],
    says: 'mover rebuild-index, then mover verify: what is only not indexed is found again',
  },
  {
    of: ['pack', 'chunk', 'page'],
    says: 'move damaged packs away (verify --packs names them) and back the volumes up again, while',
  },
  {
    of: ['pack', 'chunk', 'page'],
    says: 'their sources have the bytes: what is lost is stored anew; then mover rebuild-index',
  },
  {
    of: ['manifest'],
    says: 'nothing brings a damaged manifest back; the others of its volume do not need it',
  },
]
