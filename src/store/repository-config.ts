import type { Backend } from '../backend/backend.js'
import { configName } from '../backend/object-name.js'
import { sealRecord, unsealRecord, type RecordKind } from '../backend/sealed-record.js'
import type { AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import {
  CHUNK_BYTES_DEFAULT,
  isChunkBytes,
  PACK_BYTES_DEFAULT,
  PACK_BYTES_MAX,
  PACK_BYTES_MIN,
  RECORD_BYTES_MAX,
  ZSTD_LEVEL_DEFAULT,
  ZSTD_LEVEL_MAX,
  ZSTD_LEVEL_MIN,
} from '../core/limits.js'

/** What new backups are written with. */
export interface RepositoryDefaults {
  /** Power of two from 16 KiB to 4 MiB. */
  readonly chunkBytes: number
  readonly codec: 'lz4' | 'zstd' | 'none'
  /** zstd's level, 1 to 19; 0 for the other codecs. */
  readonly level: number
  /** From 1 MiB to 64 MiB, and at least four chunks. */
  readonly packBytes: number
}

/** The config object `config/<n>`; the highest n holds. */
export interface RepositoryConfig {
  readonly id: string
  readonly defaults: RepositoryDefaults
  /** What a reader has to understand. */
  readonly features: readonly Feature[]
}

/** `machines`: manifests may name a set and have attachments. */
export type Feature = 'machines'

const CONFIG: RecordKind = {
  magic: 'MOVRCONF',
  context: 'mover 1 config',
  corrupt: 'CONFIG_CORRUPT',
}

const FORMAT = 1
const FEATURES_KNOWN: readonly string[] = ['machines'] satisfies Feature[]
/** Others may write a config meanwhile; each of them adds something, and there is little to add. */
const CONFIGS_TRIED_MAX = 16

/** A config with every default applied. Throws ARGUMENT_INVALID for what is out of range. */
export function newConfig(id: string, options: Partial<RepositoryDefaults>): RepositoryConfig {
  const codec = options.codec ?? 'lz4'
  const defaults = {
    chunkBytes: options.chunkBytes ?? CHUNK_BYTES_DEFAULT,
    codec,
    level: codec === 'zstd' ? (options.level ?? ZSTD_LEVEL_DEFAULT) : 0,
    packBytes: options.packBytes ?? PACK_BYTES_DEFAULT,
  }
  const problem = problemOf(defaults)
  if (problem !== null) throw new MoverError('ARGUMENT_INVALID', problem)
  return { id, defaults, features: [] }
}

/** The bytes of a config object. */
export function configBytes({ id, defaults, features }: RepositoryConfig): Uint8Array {
  return sealRecord(CONFIG, {
    format: FORMAT,
    repositoryId: id,
    features: { read: features, write: [], optional: [] },
    defaults,
    encryption: 'none',
    createdMs: Date.now(),
  })
}

/** Reads the highest config object of a repository. */
export async function readConfig(
  backend: Backend,
  path: string,
  options?: AbortOptions,
): Promise<RepositoryConfig> {
  return (await readNumberedConfig(backend, path, options)).config
}

/**
 * Makes sure that the config names a feature before an object needs it: a program that does not know
 * it then refuses the repository instead of taking its manifests for damaged.
 */
export async function requireFeature(
  backend: Backend,
  path: string,
  feature: Feature,
): Promise<void> {
  for (let tries = 0; tries < CONFIGS_TRIED_MAX; tries += 1) {
    const { config, number } = await readNumberedConfig(backend, path)
    if (config.features.includes(feature)) return
    const bytes = configBytes({ ...config, features: [...config.features, feature] })
    try {
      await backend.put(configName(number + 1), bytes)
      return
    } catch (error) {
      // Another one came first; what it wrote may have it already.
      if (!(error instanceof MoverError) || error.code !== 'OBJECT_EXISTS') throw error
    }
  }
  throw new MoverError('BACKEND_FAILED', `the config of ${path} does not come to rest`)
}

async function readNumberedConfig(
  backend: Backend,
  path: string,
  options?: AbortOptions,
): Promise<{ readonly config: RepositoryConfig; readonly number: number }> {
  let highest = 0
  for await (const { name } of backend.list('config/', options)) {
    highest = Math.max(highest, Number(name.slice('config/'.length)))
  }
  if (highest === 0) {
    throw new MoverError('REPOSITORY_NOT_FOUND', `${path} is not a repository`, {
      stage: 'open',
      remedy: `make one with: mover init ${path}`,
    })
  }
  const bytes = await backend.get(`config/${highest}`, { maxBytes: RECORD_BYTES_MAX, ...options })
  try {
    const record = unsealRecord(CONFIG, bytes, `config/${highest} of the repository`)
    return { config: configOf(record), number: highest }
  } catch (cause) {
    if (!(cause instanceof MoverError) || cause.code !== 'CONFIG_CORRUPT') throw cause
    throw new MoverError('CONFIG_CORRUPT', cause.message, { stage: 'open', remedy: REMEDY, cause })
  }
}

const REMEDY = 'restore the config object from a copy of the repository'

function configOf(value: unknown): RepositoryConfig {
  const record = asRecord(value)
  const { read, write } = asRecord(record['features'])
  const needed = [...asStrings(read), ...asStrings(write)]
  const unknown = needed.filter(feature => !isFeature(feature))
  if (record['format'] !== FORMAT || record['encryption'] !== 'none' || unknown.length > 0) {
    throw new MoverError(
      'REPOSITORY_UNSUPPORTED',
      `the repository was made by a newer mover (format ${String(record['format'])}, features ${needed.join(', ') || 'none'}, encryption ${String(record['encryption'])})`,
      { stage: 'open', remedy: 'use a mover that is as new as the one that made it' },
    )
  }
  const id = record['repositoryId']
  const defaults = asRecord(record['defaults']) as unknown as RepositoryDefaults
  if (typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id)) throw corrupt('repository id')
  const problem = problemOf(defaults)
  if (problem !== null) throw corrupt(problem)
  const { chunkBytes, codec, level, packBytes } = defaults
  const features = needed.filter(isFeature)
  return { id, defaults: { chunkBytes, codec, level, packBytes }, features }
}

function isFeature(name: string): name is Feature {
  return FEATURES_KNOWN.includes(name)
}

function problemOf({ chunkBytes, codec, level, packBytes }: RepositoryDefaults): string | null {
  if (!isChunkBytes(chunkBytes)) return 'the chunk size is a power of two from 16KiB to 4MiB'
  if (!['lz4', 'zstd', 'none'].includes(codec)) return 'the codec is lz4, zstd or none'
  const isLevel = Number.isInteger(level) && level >= ZSTD_LEVEL_MIN && level <= ZSTD_LEVEL_MAX
  if (codec === 'zstd' ? !isLevel : level !== 0) {
    return `the level of zstd is ${ZSTD_LEVEL_MIN} to ${ZSTD_LEVEL_MAX}; the other codecs have none`
  }
  const isPack =
    Number.isInteger(packBytes) && packBytes >= PACK_BYTES_MIN && packBytes <= PACK_BYTES_MAX
  if (!isPack || packBytes % 4096 !== 0 || packBytes < 4 * chunkBytes) {
    return 'the pack size is a multiple of 4KiB from 1MiB to 64MiB, and at least four chunks'
  }
  return null
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw corrupt('record')
  return value as Record<string, unknown>
}

function asStrings(value: unknown): string[] {
  if (!Array.isArray(value) || !value.every(item => typeof item === 'string')) throw corrupt('list')
  return value
}

function corrupt(what: string): MoverError {
  return new MoverError('CONFIG_CORRUPT', `the repository's config has no valid ${what}`)
}
