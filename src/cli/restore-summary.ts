import { formatBytes, formatDuration, formatRate } from '../core/units.js'
import type { RestoreResult } from '../restore.js'
import { printable } from './printable.js'
import { alignFields } from './table.js'

/** What was written, what was left alone, and whether it was read again. */
export function restoreSummary(result: RestoreResult): readonly string[] {
  const { bytes, seconds, dryRun } = result
  const rate = dryRun || seconds <= 0 ? '' : `, ${formatRate(bytes.written / seconds)}`
  return alignFields([
    ['volume', `${printable(result.volume)}, ${formatBytes(bytes.volume)}`],
    ['manifest', result.manifest],
    ['target', printable(result.target)],
    result.onto === null ? null : ['onto', ontoWords(result.onto)],
    [dryRun ? 'to write' : 'written', `${formatBytes(bytes.written)}${rate}`],
    ['zero', formatBytes(bytes.zero)],
    ['unchanged', formatBytes(bytes.unchanged)],
    ['compared', formatBytes(bytes.compared)],
    ['read', `${formatBytes(bytes.read)} from packs`],
    result.untouchedTailBytes === 0
      ? null
      : ['untouched', `${formatBytes(result.untouchedTailBytes)} after the volume's end`],
    dryRun ? null : ['read back', result.readBack ? 'yes: all bytes agree' : 'no'],
    ['time', formatDuration(seconds)],
  ])
}

function ontoWords(onto: string): string {
  return onto === 'auto' ? 'auto: what the target held was read' : printable(onto)
}
