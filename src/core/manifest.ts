import type { ByteOutcome } from './progress.js'

/** How a backup was made; every manifest is a full picture whatever its mode. */
export type BackupMode = 'full' | 'incremental' | 'differential' | 'rescan'

/** The record of one backed-up state, as it stands in a repository; ids and digests are hex. */
export interface Manifest {
  /** The digest of the manifest's bytes. */
  readonly id: string
  readonly format: 1
  /** 32 hex digits. */
  readonly repositoryId: string
  /** 32 hex digits. */
  readonly sessionId: string
  readonly volume: string
  readonly volumeBytes: number
  readonly chunkBytes: number
  readonly tree: TreeTop
  /** Digest over geometry and tree: equal roots mean equal bytes. */
  readonly root: string
  /** 1 + the highest sequence its writer saw in the volume. */
  readonly sequence: number
  /** All manifests of the volume that no other named when this one was written. */
  readonly previous: readonly string[]
  readonly parent: string | null
  readonly mode: BackupMode
  readonly requested: BackupMode
  /** Why `mode` is not what was requested; null where it is. */
  readonly reason: string | null
  /** Name of the checkpoint the state stands for, from which a later change map may count. */
  readonly checkpoint: string | null
  /** The newest ancestor for which every slot was read; null when that is this one. */
  readonly fullyRead: string | null
  readonly createdMs: number
  readonly writer: string
  readonly bytes: ByteOutcome
  readonly audit: { readonly slots: number; readonly bytes: number }
  readonly added: { readonly packs: number; readonly bytes: number }
  readonly source: { readonly kind: string; readonly identity: string }
  readonly tags: Readonly<Record<string, string>>
  /** The volumes of one machine that were backed up at one moment; null for a volume by itself. */
  readonly set: BackupSet | null
  /** What describes the machine: a domain's XML, an OVF. */
  readonly attachments: readonly Attachment[]
  readonly durability: 'synced'
  readonly degraded: false
  readonly encryption: 'none'
}

/** The manifest's newest state of which every slot was read: an ancestor, or its own. */
export function newestFullyRead({ id, fullyRead }: Pick<Manifest, 'id' | 'fullyRead'>): string {
  return fullyRead ?? id
}

/** The top of a manifest's page tree; `top` is null where the whole volume is zero. */
export interface TreeTop {
  readonly height: number
  readonly state: 'zero' | 'page'
  readonly top: string | null
}

/** Backups of one moment: the set is whole when as many manifests as it has members name it. */
export interface BackupSet {
  /** 32 hex digits. */
  readonly id: string
  /** 1 to 4,096. */
  readonly members: number
}

/** A small thing kept with a volume. */
export interface Attachment {
  /** 1 to 128 bytes of UTF-8, as the type, which is a media type. */
  readonly name: string
  readonly type: string
  /** Hex; of a stored page that holds its bytes behind a mark. */
  readonly digest: string
  readonly bytes: number
}
