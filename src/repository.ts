import { randomBytes } from 'node:crypto'
import type { Backend } from './backend/backend.js'
import { LocalBackend } from './backend/local-backend.js'
import { configName } from './backend/object-name.js'
import type { AbortOptions } from './core/abort.js'
import type { Manifest } from './core/manifest.js'
import {
  readManifests,
  resolveReference,
  type DamagedManifest,
  type ManifestListing,
} from './manifest/manifest-catalog.js'
import { ChunkStore } from './store/chunk-store.js'
import {
  configBytes,
  newConfig,
  readConfig,
  type RepositoryConfig,
  type RepositoryDefaults,
} from './store/repository-config.js'
import { beginSession, type Session } from './store/session.js'

/** What a repository says of itself. */
export interface RepositoryInfo extends RepositoryDefaults {
  readonly id: string
  readonly path: string
}

/** All of it at one place: config, packs, index, manifests. It opens the parts and does nothing itself. */
export interface Repository extends AsyncDisposable {
  readonly id: string
  readonly path: string
  readonly defaults: RepositoryDefaults
  readonly backend: Backend
  readonly store: ChunkStore

  /** Manifests of one volume, or of all, by volume and then oldest first; those that can be read. */
  manifests(volume?: string | null, options?: AbortOptions): Promise<readonly Manifest[]>

  /** As `manifests`, with those that are there and cannot be read. */
  listing(volume?: string | null, options?: AbortOptions): Promise<ManifestListing>

  /** Manifests that are there and cannot be read: what they stood for may be lost. */
  damagedManifests(options?: AbortOptions): Promise<readonly DamagedManifest[]>

  /**
   * Finds the manifest that a reference names: an id, a unique prefix of one, `latest`, `full`,
   * `VOLUME@latest`, `VOLUME@latest~1` or `VOLUME@full`. Throws MANIFEST_NOT_FOUND or
   * MANIFEST_AMBIGUOUS.
   */
  resolve(reference: string, volume?: string | null, options?: AbortOptions): Promise<Manifest>

  /** Makes this process visible to others as a live writer or reader. */
  beginSession(kind: 'read' | 'write', parent: string | null): Promise<Session>
}

/**
 * Makes a repository in a folder that is empty or not there yet. Throws REPOSITORY_EXISTS,
 * ARGUMENT_INVALID for defaults out of range, and BACKEND_FAILED where the file system lacks what
 * durability needs.
 */
export async function initRepository(
  path: string,
  options: Partial<RepositoryDefaults> = {},
): Promise<RepositoryInfo> {
  const config = newConfig(randomBytes(16).toString('hex'), options)
  const backend = await LocalBackend.create(path)
  await backend.put(configName(1), configBytes(config))
  return { id: config.id, path, ...config.defaults }
}

/**
 * Opens a repository. Throws REPOSITORY_NOT_FOUND, REPOSITORY_UNSUPPORTED for one of a newer
 * version, and CONFIG_CORRUPT.
 */
export async function openRepository(path: string, options?: AbortOptions): Promise<Repository> {
  const backend = await LocalBackend.open(path)
  const config = await readConfig(backend, path, options)
  const store = new ChunkStore(backend, config.id)
  return repositoryOf({ path, backend, config, store })
}

interface Parts {
  readonly path: string
  readonly backend: Backend
  readonly config: RepositoryConfig
  readonly store: ChunkStore
}

function repositoryOf({ path, backend, config, store }: Parts): Repository {
  const place = { id: config.id, backend }
  return {
    ...place,
    path,
    defaults: config.defaults,
    store,
    async manifests(volume, options) {
      const { manifests } = await readManifests(place, volume ?? undefined, options)
      return manifests
    },
    listing: (volume, options) => readManifests(place, volume ?? undefined, options),
    async damagedManifests(options) {
      return (await readManifests(place, undefined, options)).damaged
    },
    async resolve(reference, volume, options) {
      const { manifests, damaged } = await readManifests(place, undefined, options)
      return resolveReference(reference, { manifests, damaged, volume: volume ?? null })
    },
    beginSession: (kind, parent) => beginSession(backend, { kind, parent }),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
    },
  }
}
