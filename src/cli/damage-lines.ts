import { DAMAGED_EXTENTS_MAX } from '../core/limits.js'
import type { Damage } from '../core/progress.js'
import { EXIT_CODES } from './exit-codes.js'
import { shortId } from './manifest-operand.js'
import { printable } from './printable.js'

/** People are shown this many extents of one damage; `--json` lists more. */
const EXTENTS_SHOWN = 8

/** The exit code of a run that ended, and found this. */
export function damageExitCode(damage: readonly Damage[]): number {
  return damage.length === 0 ? EXIT_CODES.done : EXIT_CODES.integrity
}

/** Each damaged thing, then the manifests and extents that cannot be restored because of it. */
export function damageLines(damage: readonly Damage[]): readonly string[] {
  return damage.flatMap(({ kind, name, message, manifests, extents, extentsInAll }) => [
    `damaged ${kind} ${printable(name)}: ${printable(message)}`,
    ...(manifests.length === 0 ? [] : [`  hits ${manifests.map(shortId).join(', ')}`]),
    ...extents
      .slice(0, EXTENTS_SHOWN)
      .map(extent => `  ${shortId(extent.manifest)}  ${extent.offset}+${extent.length}`),
    ...(extentsInAll > EXTENTS_SHOWN
      ? [
          `  and ${extentsInAll - EXTENTS_SHOWN} more extents; --json lists the first ${DAMAGED_EXTENTS_MAX}`,
        ]
      : []),
  ])
}
