import type { Manifest } from '../core/manifest.js'
import { formatBytes } from '../core/units.js'
import { tagWords } from './list-table.js'
import { localTime } from './local-time.js'
import { modeWords } from './mode-words.js'
import { printable } from './printable.js'
import { alignFields } from './table.js'

/** Every field of a manifest that says something, sizes in bytes as well. */
export function manifestFields(manifest: Manifest): readonly string[] {
  const { bytes, audit, added, tree, source } = manifest
  return alignFields([
    ['manifest', manifest.id],
    ['volume', printable(manifest.volume)],
    ['size', exact(manifest.volumeBytes)],
    ['chunk', exact(manifest.chunkBytes)],
    ['created', localTime(manifest.createdMs)],
    ['mode', modeWords(manifest)],
    ['parent', manifest.parent ?? 'none'],
    ['previous', manifest.previous.join(' ') || 'none'],
    ['sequence', String(manifest.sequence)],
    ['fully read', manifest.fullyRead ?? 'this one'],
    ['checkpoint', manifest.checkpoint === null ? 'none' : printable(manifest.checkpoint)],
    ['tags', tagWords(manifest.tags) || 'none'],
    manifest.set === null ? null : ['set', `${manifest.set.id}, ${manifest.set.members} in all`],
    ...manifest.attachments.map(
      ({ name, bytes }) => ['attachment', `${printable(name)}, ${exact(bytes)}`] as const,
    ),
    ['read', exact(bytes.read)],
    ['carried', exact(bytes.carried)],
    ['zero', exact(bytes.zero)],
    ['deduplicated', exact(bytes.deduplicated)],
    ['stored', exact(bytes.stored)],
    ['added', `${exact(added.bytes)} in ${added.packs} ${added.packs === 1 ? 'pack' : 'packs'}`],
    ['audit', `${audit.slots} chunks, ${exact(audit.bytes)}`],
    ['root', manifest.root],
    ['tree', tree.top === null ? 'none: all zero' : `${tree.top}, height ${tree.height}`],
    ['source', printable(source.identity)],
    ['repository', manifest.repositoryId],
    ['session', manifest.sessionId],
    ['writer', `${printable(manifest.writer)}, format ${manifest.format}`],
    ['durability', manifest.durability],
    ['encryption', manifest.encryption],
  ])
}

function exact(bytes: number): string {
  return bytes < 1024 ? formatBytes(bytes) : `${formatBytes(bytes)} (${bytes})`
}
