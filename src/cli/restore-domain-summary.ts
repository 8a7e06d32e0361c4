import { formatBytes, formatDuration } from '../core/units.js'
import type { RestoreDomainResult } from '../restore-domain.js'
import { printable, shellWord } from './printable.js'
import { alignFields } from './table.js'

/** Where the disks are, what is not there, and how the domain is started again. */
export function restoreDomainSummary(result: RestoreDomainResult): readonly string[] {
  const { domain, domainXml, disks, missing, seconds } = result
  return [
    ...alignFields([
      ['domain', printable(domain)],
      ...disks.map(
        ({ target, bytes }) =>
          ['disk', `${printable(target)}, ${formatBytes(bytes.volume)}`] as const,
      ),
      ...missing.map(what => ['missing', printable(what)] as const),
      ['time', formatDuration(seconds)],
    ]),
    '',
    `next: virsh define ${shellWord(domainXml)}`,
    `      virsh start ${shellWord(domain)}`,
  ]
}
