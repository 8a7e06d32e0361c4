import type { Manifest } from '../core/manifest.js'
import { formatBytes } from '../core/units.js'
import { localTime } from './local-time.js'
import { shortId } from './manifest-operand.js'
import { printable } from './printable.js'
import { alignColumns, type Align } from './table.js'

const HEADINGS = ['MANIFEST', 'VOLUME', 'CREATED', 'MODE', 'SIZE', 'STORED', 'CHECKPOINT', 'TAGS']
const ALIGNS: readonly Align[] = ['left', 'left', 'left', 'left', 'right', 'right', 'left', 'left']

/** A manifest a line under headings; one line that says so when there is none. */
export function listTable(manifests: readonly Manifest[]): readonly string[] {
  if (manifests.length === 0) return ['no manifests']
  return alignColumns([HEADINGS, ...manifests.map(rowOf)], ALIGNS)
}

function rowOf(manifest: Manifest): readonly string[] {
  return [
    shortId(manifest.id),
    printable(manifest.volume),
    localTime(manifest.createdMs),
    manifest.mode,
    formatBytes(manifest.volumeBytes),
    formatBytes(manifest.bytes.stored),
    manifest.checkpoint === null ? '-' : printable(manifest.checkpoint),
    tagWords(manifest.tags),
  ]
}

/** 'a=1 b=2', in the order of the names. */
export function tagWords(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => printable(`${name}=${value}`))
    .join(' ')
}
