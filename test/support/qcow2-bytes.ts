/** The structures of a qcow2 image, written by hand: what QEMU itself would never write, too. */

export interface HeaderFields {
  readonly magic?: number
  readonly version?: number
  readonly backing?: readonly [offset: number, length: number]
  readonly clusterBits?: number
  readonly volumeBytes?: bigint
  readonly cryptMethod?: number
  readonly l1Entries?: number
  readonly l1Offset?: bigint
  readonly refcountClusters?: number
  readonly snapshots?: number
  readonly incompatible?: bigint
  readonly autoclear?: bigint
  readonly refcountOrder?: number
  readonly headerBytes?: number
  readonly extensions?: readonly (readonly [type: number, data: Buffer])[]
  /** Text that is put where `backing` says. */
  readonly backingFile?: string
}

/** A first cluster of 64 KiB. */
export function qcow2Header(fields: HeaderFields = {}): Buffer {
  const bytes = Buffer.alloc(65_536)
  const headerBytes = fields.headerBytes ?? 112
  bytes.writeUInt32BE(fields.magic ?? 0x5146_49fb, 0)
  bytes.writeUInt32BE(fields.version ?? 3, 4)
  bytes.writeBigUInt64BE(BigInt(fields.backing?.[0] ?? 0), 8)
  bytes.writeUInt32BE(fields.backing?.[1] ?? 0, 16)
  bytes.writeUInt32BE(fields.clusterBits ?? 16, 20)
  bytes.writeBigUInt64BE(fields.volumeBytes ?? 2n ** 30n, 24)
  bytes.writeUInt32BE(fields.cryptMethod ?? 0, 32)
  bytes.writeUInt32BE(fields.l1Entries ?? 4, 36)
  bytes.writeBigUInt64BE(fields.l1Offset ?? 0x3_0000n, 40)
  bytes.writeBigUInt64BE(0x1_0000n, 48)
  bytes.writeUInt32BE(fields.refcountClusters ?? 1, 56)
  bytes.writeUInt32BE(fields.snapshots ?? 0, 60)
  bytes.writeBigUInt64BE(fields.incompatible ?? 0n, 72)
  bytes.writeBigUInt64BE(fields.autoclear ?? 0n, 88)
  bytes.writeUInt32BE(fields.refcountOrder ?? 4, 96)
  bytes.writeUInt32BE(headerBytes, 100)
  let at = fields.version === 2 ? 72 : Math.min(headerBytes, 65_000)
  for (const [type, data] of fields.extensions ?? []) {
    bytes.writeUInt32BE(type, at)
    bytes.writeUInt32BE(data.length, at + 4)
    data.copy(bytes, at + 8)
    at += 8 + Math.ceil(data.length / 8) * 8
  }
  bytes.write(fields.backingFile ?? '', fields.backing?.[0] ?? 0)
  return bytes
}

/** The data of a bitmaps extension. */
export function bitmapsExtension(
  fields: {
    readonly count?: number
    readonly reserved?: number
    readonly directoryBytes?: bigint
    readonly directoryOffset?: bigint
  } = {},
): Buffer {
  const bytes = Buffer.alloc(24)
  bytes.writeUInt32BE(fields.count ?? 1, 0)
  bytes.writeUInt32BE(fields.reserved ?? 0, 4)
  bytes.writeBigUInt64BE(fields.directoryBytes ?? 32n, 8)
  bytes.writeBigUInt64BE(fields.directoryOffset ?? 0x5_0000n, 16)
  return bytes
}

export interface EntryFields {
  readonly name?: string | Buffer
  readonly nameBytes?: number
  readonly tableOffset?: bigint
  readonly tableEntries?: number
  readonly flags?: number
  readonly type?: number
  readonly granularityBits?: number
  readonly extra?: Buffer
  readonly padding?: number
}

/** An entry of the directory. */
export function directoryEntry(fields: EntryFields = {}): Buffer {
  const name = Buffer.from(fields.name ?? 'monday')
  const extra = fields.extra ?? Buffer.alloc(0)
  const length = 24 + extra.length + name.length
  const bytes = Buffer.alloc(Math.ceil(length / 8) * 8, fields.padding ?? 0)
  bytes.writeBigUInt64BE(fields.tableOffset ?? 0x6_0000n, 0)
  bytes.writeUInt32BE(fields.tableEntries ?? 1, 8)
  bytes.writeUInt32BE(fields.flags ?? 2, 12)
  bytes.writeUInt8(fields.type ?? 1, 16)
  bytes.writeUInt8(fields.granularityBits ?? 16, 17)
  bytes.writeUInt16BE(fields.nameBytes ?? name.length, 18)
  bytes.writeUInt32BE(extra.length, 20)
  extra.copy(bytes, 24)
  name.copy(bytes, 24 + extra.length)
  return bytes
}
