/** The manifests that a repository holds: reading them all, adding one, and how they are linked. */
import type { Backend } from '../backend/backend.js'
import { manifestName } from '../backend/object-name.js'
import type { AbortOptions } from '../core/abort.js'
import { isDamage, isLostByMedium } from '../core/damage-error.js'
import { MoverError } from '../core/errors.js'
import type { Manifest } from '../core/manifest.js'
import { MANIFEST_BYTES_MAX, decodeManifest, encodeManifest } from './manifest-file.js'
import type { ManifestFields } from './manifest-file.js'
import { oldestFirst } from './manifest-reference.js'
import { volumeKey } from './volume-key.js'

export { resolveReference } from './manifest-reference.js'

/** A manifest that is there and could not be read, and why. */
export interface DamagedManifest {
  /** Name of the object. */
  readonly name: string
  readonly volumeKey: string
  readonly error: MoverError
}

/** All manifests that were asked for: no damaged one is silently missing. */
export interface ManifestListing {
  /** By volume, and then oldest first. */
  readonly manifests: Manifest[]
  readonly damaged: DamagedManifest[]
}

/** A repository, as far as its manifests are concerned. */
export interface ManifestPlace {
  readonly id: string
  readonly backend: Backend
}

/** Manifests read together: some hundred KiB of them. */
const READ_TOGETHER = 512

/** Reads the manifests of one volume, or, where that is null, of all. */
export async function readManifests(
  repository: ManifestPlace,
  volume: string | null = null,
  options?: AbortOptions,
): Promise<ManifestListing> {
  const listing: ManifestListing = { manifests: [], damaged: [] }
  const prefix = volume === null ? 'manifests/' : (`manifests/${volumeKey(volume)}/` as const)
  const keys = new Map<string, string>()
  const keyOf = (name: string) => {
    const key = keys.get(name) ?? volumeKey(name)
    keys.set(name, key)
    return key
  }
  const names: string[] = []
  for await (const name of repository.backend.listNames(prefix, options)) names.push(name)
  const read = (first: number) =>
    repository.backend.getMany(names.slice(first, first + READ_TOGETHER), {
      maxBytes: MANIFEST_BYTES_MAX,
      ...options,
    })
  // While some are decoded, the next ones are read.
  let next = read(0)
  for (let first = 0; first < names.length; first += READ_TOGETHER) {
    const some = await next
    next = read(first + READ_TOGETHER)
    next.catch(() => {}) // Awaited in its turn; a failure before that is not unhandled.
    for (const [position, bytes] of some.entries()) {
      const name = names[first + position] ?? ''
      addTo(listing, { repositoryId: repository.id, name, bytes, keyOf })
    }
  }
  await next
  listing.manifests.sort(byVolume)
  listing.damaged.sort((a, b) => (a.name < b.name ? -1 : 1))
  return listing
}

/**
 * Writes a manifest: the commit point of a backup. All that it names must be durable by now; it is,
 * when this resolves. OBJECT_EXISTS if its session was ended by somebody else, or has committed.
 */
export async function commitManifest(
  backend: Backend,
  fields: ManifestFields,
  options?: AbortOptions,
): Promise<{ readonly manifest: Manifest; readonly bytes: number }> {
  const bytes = encodeManifest(fields)
  const manifest = decodeManifest(bytes)
  const { sessionId } = fields
  await backend.put(
    manifestName({ volumeKey: volumeKey(fields.volume), sessionId }),
    bytes,
    options,
  )
  return { manifest, bytes: bytes.length }
}

/** How a new manifest is linked to those of its volume: a removed or rolled-back one is then seen. */
export interface ManifestLinks {
  /** 1 + the highest so far. */
  readonly sequence: number
  /** Ids of all manifests that no other names as its previous. */
  readonly previous: readonly string[]
}

/** The links of a manifest to be added to these, which are all of its volume. */
export function nextLinks(manifests: readonly Manifest[]): ManifestLinks {
  const named = new Set(manifests.flatMap(({ previous }) => previous))
  const previous = manifests.map(({ id }) => id).filter(id => !named.has(id))
  const highest = manifests.reduce((max, { sequence }) => Math.max(max, sequence), 0)
  return { sequence: highest + 1, previous: previous.sort() }
}

/** Sequences count within a volume; times are not to be trusted. */
function byVolume(a: Manifest, b: Manifest): number {
  if (a.volume === b.volume) return oldestFirst(a, b)
  return a.volume < b.volume ? -1 : 1
}

interface ReadObject {
  readonly repositoryId: string
  readonly name: string
  readonly bytes: Uint8Array | MoverError
  readonly keyOf: (volume: string) => string
}

function addTo(listing: ManifestListing, object: ReadObject): void {
  const { name } = object
  try {
    listing.manifests.push(manifestOf(object))
  } catch (error) {
    if (!(error instanceof MoverError)) throw error
    // Forgotten by another process since it was listed.
    if (error.code === 'OBJECT_NOT_FOUND') return
    // A system that is out of something, or refuses, says nothing of the bytes.
    if (!isDamage(error) && !isLostByMedium(error)) throw error
    listing.damaged.push({ name, volumeKey: name.split('/')[1] ?? '', error })
  }
}

/** A manifest is believed only in its own place: else one could be planted on another volume. */
function manifestOf({ repositoryId, name, bytes, keyOf }: ReadObject): Manifest {
  if (bytes instanceof MoverError) throw bytes
  const manifest = decodeManifest(bytes, name)
  const { volume, sessionId } = manifest
  if (manifest.repositoryId !== repositoryId) {
    const whose = `the manifest of another repository, ${manifest.repositoryId}`
    throw new MoverError('MANIFEST_CORRUPT', `${name} is ${whose}`)
  }
  if (manifestName({ volumeKey: keyOf(volume), sessionId }) === name) return manifest
  throw new MoverError('MANIFEST_CORRUPT', `${name} is the manifest of another place`)
}
