/**
 * The JSON Schema of every line that `--json` prints. Each record is written against the type it
 * describes, so that a field which is added to an event or a result must be added here.
 */
import type { BackupResult } from '../backup.js'
import type { BackupMachineResult } from '../backup-machine.js'
import type { CatResult } from '../cat.js'
import type { CbtDiskStatus, CbtMachineStatus, CbtStatus } from '../cbt-status.js'
import type { Attachment, BackupSet, Manifest } from '../core/manifest.js'
import type {
  ByteOutcome,
  Damage,
  DamagedExtent,
  DamageEvent,
  FallbackEvent,
  ProgressEvent,
  StageEvent,
  WarningEvent,
} from '../core/progress.js'
import type { MappedExtent } from '../map-manifest.js'
import type { RebuildIndexResult } from '../rebuild-index.js'
import type { RepositoryInfo } from '../repository.js'
import type { RestoreDomainResult } from '../restore-domain.js'
import type { RestoredBytes, RestoreResult } from '../restore.js'
import type { Tracker } from '../cbt/tracking.js'
import type { VerifyResult } from '../verify.js'
import type { Failure } from './report.js'

/** As much of JSON Schema as is used here. */
export interface Schema {
  readonly type?: string | readonly string[]
  readonly const?: string | number | boolean | null
  readonly enum?: readonly (string | null)[]
  readonly pattern?: string
  readonly minimum?: number
  readonly description?: string
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema
  readonly items?: Schema
  readonly oneOf?: readonly Schema[]
  readonly $ref?: string
}

const text: Schema = { type: 'string' }
const textOrNull: Schema = { type: ['string', 'null'] }
const flag: Schema = { type: 'boolean' }
const count: Schema = { type: 'integer', minimum: 0 }
const countOrNull: Schema = { type: ['integer', 'null'], minimum: 0 }
const amount: Schema = { type: 'number', minimum: 0 }
const hex: Schema = { type: 'string', pattern: '^[0-9a-f]+$' }
const hexOrNull: Schema = { type: ['string', 'null'], pattern: '^[0-9a-f]+$' }
const mode: Schema = { enum: ['full', 'incremental', 'differential', 'rescan'] }
const counted = { slots: count, bytes: count }

const byteOutcome = record<ByteOutcome>('bytes of the volume by outcome', {
  volume: count,
  read: count,
  carried: count,
  zero: count,
  deduplicated: count,
  stored: count,
  written: count,
})

const restoredBytes = record<RestoredBytes>('bytes of the volume by what was done', {
  volume: count,
  read: count,
  written: count,
  zero: count,
  unchanged: count,
  compared: count,
})

const damagedExtent = record<DamagedExtent>('bytes that cannot be restored', {
  manifest: hex,
  offset: count,
  length: count,
})

const damage = record<Damage>('one damaged or missing thing', {
  kind: { enum: ['pack', 'segment', 'manifest', 'page', 'chunk'] },
  name: text,
  message: text,
  manifests: list(hex),
  extents: list(damagedExtent),
  extentsInAll: count,
})

const tracker = record<Tracker>('one dirty bitmap, and what it is good for', {
  kind: { enum: ['qcow2-bitmap', 'nbd-bitmap', 'qemu-bitmap', 'libvirt-checkpoint'] },
  name: text,
  isOwn: flag,
  granularityBytes: countOrNull,
  dirtyBytes: countOrNull,
  flags: list({
    enum: [
      ...['recording', 'in-use', 'unknown-flags', 'unknown-data'],
      ...['busy', 'persistent', 'inconsistent'],
    ],
  }),
  health: { enum: ['exact', 'superset', 'lost'] },
  reason: textOrNull,
  changes: textOrNull,
  remedy: textOrNull,
})

const manifestFields: Fields<Manifest> = {
  id: hex,
  format: { const: 1 },
  repositoryId: hex,
  sessionId: hex,
  volume: text,
  volumeBytes: count,
  chunkBytes: count,
  tree: record<Manifest['tree']>('top of the page tree', {
    height: count,
    state: { enum: ['zero', 'page'] },
    top: hexOrNull,
  }),
  root: hex,
  sequence: count,
  previous: list(hex),
  parent: hexOrNull,
  mode,
  requested: mode,
  reason: textOrNull,
  checkpoint: textOrNull,
  fullyRead: hexOrNull,
  createdMs: count,
  writer: text,
  bytes: { $ref: '#/$defs/byteOutcome' },
  audit: record<Manifest['audit']>('clean slots read all the same', counted),
  added: record<Manifest['added']>('packs added', { packs: count, bytes: count }),
  source: record<Manifest['source']>('what was read', { kind: text, identity: text }),
  tags: { type: 'object', additionalProperties: text },
  set: {
    oneOf: [
      record<BackupSet>('backups of one machine at one moment', { id: hex, members: count }),
      { type: 'null' },
    ],
  },
  attachments: list(
    record<Attachment>('kept with the volume', {
      name: text,
      type: text,
      digest: hex,
      bytes: count,
    }),
  ),
  durability: { const: 'synced' },
  degraded: { const: false },
  encryption: { const: 'none' },
}

const events: Readonly<Record<string, Schema>> = {
  stage: event<StageEvent>('a step begins', { type: { const: 'stage' }, stage: text }),
  progress: event<ProgressEvent>('how far the step is; its counters never run backwards', {
    type: { const: 'progress' },
    bytesDone: count,
    bytesTotal: count,
    bytesPerSecond: amount,
    etaSeconds: { type: ['number', 'null'], minimum: 0 },
    limitedBy: { enum: ['read', 'compute', 'write', 'rate', null] },
    bytes: { oneOf: [{ $ref: '#/$defs/byteOutcome' }, { type: 'null' }] },
  }),
  warning: event<WarningEvent>('something to look at; the job goes on', {
    type: { const: 'warning' },
    code: text,
    message: text,
  }),
  fallback: event<FallbackEvent>('the job does something else than was asked for', {
    type: { const: 'fallback' },
    requested: text,
    mode: text,
    reason: text,
    message: text,
  }),
  damage: event<DamageEvent>('damage just found; the result lists it again', {
    type: { const: 'damage' },
    damage: { $ref: '#/$defs/damage' },
  }),
}

const rows: Readonly<Record<string, Schema>> = {
  manifest: line<Typed<'manifest', Manifest>>('a row of list', {
    type: { const: 'manifest' },
    ...manifestFields,
  }),
  extent: line<Typed<'extent', MappedExtent>>('a row of show --map', {
    type: { const: 'extent' },
    offset: count,
    length: count,
    state: { enum: ['data', 'zero'] },
    changed: flag,
  }),
  difference: line<MappedDifference>('a row of diff, as --changes extents: takes it', {
    offset: count,
    length: count,
    state: { const: 'data' },
  }),
  end: line<{ end: true; extents: number }>('the last line of diff, in place of a result', {
    end: { const: true },
    extents: count,
  }),
}

const backupFields: Fields<BackupResult> = {
  operation: { const: 'backup' },
  volume: text,
  manifest: hexOrNull,
  root: hexOrNull,
  parent: hexOrNull,
  mode,
  requested: mode,
  reason: textOrNull,
  bytes: { $ref: '#/$defs/byteOutcome' },
  audit: record<BackupResult['audit']>('clean slots read all the same', counted),
  checkpoint: textOrNull,
  packs: count,
  dryRun: flag,
  seconds: amount,
  writer: text,
}

const restoreFields: Fields<RestoreResult> = {
  operation: { const: 'restore' },
  manifest: hex,
  volume: text,
  target: text,
  onto: textOrNull,
  bytes: restoredBytes,
  untouchedTailBytes: count,
  readBack: flag,
  dryRun: flag,
  seconds: amount,
}

const results: Readonly<Record<string, Schema>> = {
  init: result<RepositoryInfo & { operation: 'init' }>({
    operation: { const: 'init' },
    id: hex,
    path: text,
    chunkBytes: count,
    codec: { enum: ['lz4', 'zstd', 'none'] },
    level: count,
    packBytes: count,
  }),
  backup: result<BackupResult>(backupFields),
  backupMachine: result<BackupMachineResult>({
    operation: { const: 'backup-machine' },
    machine: text,
    set: hexOrNull,
    disks: list(record<BackupResult>('the backup of one disk', backupFields)),
    seconds: amount,
  }),
  restore: result<RestoreResult>(restoreFields),
  restoreDomain: result<RestoreDomainResult>({
    operation: { const: 'restore-domain' },
    domain: text,
    domainXml: text,
    set: hexOrNull,
    disks: list(record<RestoreResult>('a disk, restored', restoreFields)),
    missing: list(text),
    seconds: amount,
  }),
  cat: result<CatResult>({
    operation: { const: 'cat' },
    manifest: hex,
    bytes: count,
    seconds: amount,
  }),
  list: result<{ operation: 'list'; manifests: number }>({
    operation: { const: 'list' },
    manifests: count,
  }),
  show: result<Manifest & { operation: 'show' }>({
    operation: { const: 'show' },
    ...manifestFields,
  }),
  cbtStatus: result<CbtStatus>({
    operation: { const: 'cbt-status' },
    source: text,
    kind: { enum: ['file', 'block', 'nbd', 'qcow2'] },
    volumeBytes: count,
    dataFile: textOrNull,
    trackers: list(tracker),
    reason: textOrNull,
    remedy: textOrNull,
  }),
  cbtStatusMachine: result<CbtMachineStatus>({
    operation: { const: 'cbt-status-machine' },
    machine: text,
    disks: list(
      record<CbtDiskStatus>('what tracks one disk', {
        name: text,
        volumeBytes: count,
        trackers: list(tracker),
        reason: textOrNull,
        remedy: textOrNull,
      }),
    ),
  }),
  verify: result<VerifyResult>({
    operation: { const: 'verify' },
    manifests: count,
    packs: count,
    segments: count,
    pages: count,
    chunks: count,
    bytes: count,
    damage: list({ $ref: '#/$defs/damage' }),
    seconds: amount,
  }),
  rebuildIndex: result<RebuildIndexResult>({
    operation: { const: 'rebuild-index' },
    packs: count,
    entries: count,
    segments: count,
    damage: list({ $ref: '#/$defs/damage' }),
    seconds: amount,
  }),
}

const error = line<Typed<'error', Failure>>('the last line of a run that failed', {
  type: { const: 'error' },
  code: text,
  stage: textOrNull,
  message: text,
  remedy: textOrNull,
  offset: countOrNull,
  retryable: flag,
  details: { type: ['object', 'null'] },
})

const lines: Readonly<Record<string, Schema>> = {
  ...named('event', events),
  ...named('row', rows),
  ...named('result', results),
  error,
}

/** Any line of any command. Fields may be added in later versions; none is taken away. */
export const JSON_SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'a line of mover --json',
  oneOf: Object.keys(lines).map(name => ({ $ref: `#/$defs/${name}` })),
  $defs: { byteOutcome, damage, ...lines },
} as const

type Fields<T> = { readonly [K in keyof Required<T>]: Schema }
type Typed<Type extends string, T> = T & { readonly type: Type }
type MappedDifference = { offset: number; length: number; state: 'data' }

function record<T>(description: string, fields: Fields<T>): Schema {
  return { description, type: 'object', required: Object.keys(fields), properties: fields }
}

function line<T>(description: string, fields: Fields<T>): Schema {
  return record<T>(description, fields)
}

/** Of several disks, it may say which. */
function event<T extends { type: string }>(description: string, fields: Fields<T>): Schema {
  const { properties, ...schema } = record<T>(description, fields)
  const disk = { ...text, description: 'which disk it is of, in a job of several' }
  return { ...schema, properties: { ...properties, disk } }
}

function result<T extends { operation: string }>(fields: Fields<T>): Schema {
  const all = { type: { const: 'result' }, ...fields } as Fields<Typed<'result', T>>
  return record<Typed<'result', T>>('the last line of a run that ended', all)
}

function list(items: Schema): Schema {
  return { type: 'array', items }
}

/** 'event' and 'stage' make 'stageEvent'. */
function named(kind: string, schemas: Readonly<Record<string, Schema>>): Record<string, Schema> {
  const suffix = kind.charAt(0).toUpperCase() + kind.slice(1)
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [`${name}${suffix}`, schema]),
  )
}
