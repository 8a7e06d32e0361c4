import { slotCount } from '../../src/core/chunk.js'
import type { ManifestFields } from '../../src/manifest/manifest-file.js'
import { treeHeight, treeRoot } from '../../src/manifest/tree-shape.js'

/** A manifest that can be written, of a volume that is zero: 1 MiB, but for what the test says. */
export function manifestFields(fields: Partial<ManifestFields>): ManifestFields {
  const geometry = { volumeBytes: 1_048_576, chunkBytes: 65_536, ...fields }
  const { volumeBytes } = geometry
  const height = treeHeight(slotCount(geometry))
  const tree = { height, state: 'zero', top: null } as const
  return {
    format: 1,
    repositoryId: '11'.repeat(16),
    sessionId: '22'.repeat(16),
    volume: 'vm-1/sda',
    ...geometry,
    tree,
    root: treeRoot(geometry, tree),
    sequence: 1,
    previous: [],
    parent: null,
    mode: 'full',
    requested: 'full',
    reason: null,
    checkpoint: null,
    fullyRead: null,
    createdMs: 1_700_000_000_000,
    writer: 'mover 0.1.0',
    bytes: {
      volume: volumeBytes,
      read: volumeBytes,
      carried: 0,
      zero: volumeBytes,
      deduplicated: 0,
      stored: 0,
      written: 0,
    },
    audit: { slots: 0, bytes: 0 },
    added: { packs: 0, bytes: 0 },
    source: { kind: 'file', identity: '8:1' },
    tags: {},
    set: null,
    attachments: [],
    durability: 'synced',
    degraded: false,
    encryption: 'none',
    ...fields,
  }
}
