import type { BackupResult } from '../backup.js'
import { formatBytes, formatDuration, formatRate } from '../core/units.js'
import { shortId } from './manifest-operand.js'
import { modeWords } from './mode-words.js'
import { printable, shellWord } from './printable.js'
import { alignFields } from './table.js'

/** What was done, by mode and by outcome of every byte, and what can be done next. */
export function backupSummary(result: BackupResult, repositoryOption: string): readonly string[] {
  const { bytes, dryRun } = result
  return [
    ...alignFields([
      ['volume', `${printable(result.volume)}, ${formatBytes(bytes.volume)}`],
      dryRun ? ['manifest', 'none: a dry run'] : ['manifest', result.manifest ?? 'none'],
      ['mode', modeWords(result)],
      result.parent === null ? null : ['parent', shortId(result.parent)],
      result.checkpoint === null ? null : ['checkpoint', printable(result.checkpoint)],
      [dryRun ? 'to read' : 'read', readWords(result)],
      ['carried', formatBytes(bytes.carried)],
      ['zero', formatBytes(bytes.zero)],
      dryRun ? null : ['deduplicated', formatBytes(bytes.deduplicated)],
      dryRun ? null : ['stored', formatBytes(bytes.stored)],
      dryRun ? null : ['written', writtenWords(result)],
      dryRun ? null : ['audit', auditWords(result)],
      ['time', formatDuration(result.seconds)],
    ]),
    ...nextLines(result, repositoryOption),
  ]
}

function readWords({ bytes, seconds, dryRun }: BackupResult): string {
  const rate = dryRun || seconds <= 0 ? '' : `, ${formatRate(bytes.read / seconds)}`
  return `${formatBytes(bytes.read)}${rate}`
}

function writtenWords({ bytes, packs }: BackupResult): string {
  return `${formatBytes(bytes.written)}, in ${packs} ${packs === 1 ? 'pack' : 'packs'}`
}

function auditWords({ audit, mode }: BackupResult): string {
  if (audit.slots > 0) return `${audit.slots} clean chunks, ${formatBytes(audit.bytes)}: all clean`
  return mode === 'full' || mode === 'rescan' ? 'none needed: all was read' : 'none'
}

function nextLines(
  { manifest, volume }: BackupResult,
  repositoryOption: string,
): readonly string[] {
  if (manifest === null) return []
  const id = shortId(manifest)
  return [
    '',
    `next: mover restore ${id} TARGET${repositoryOption}`,
    `      mover verify ${id}${repositoryOption}`,
    `      mover list ${shellWord(volume)}${repositoryOption}`,
  ]
}
