/** What people call manifests by: an id, the beginning of one, or the latest of a volume. */
import { MoverError } from '../core/errors.js'
import type { Manifest } from '../core/manifest.js'
import type { DamagedManifest } from './manifest-catalog.js'
import { volumeKey } from './volume-key.js'

export interface ReferenceContext {
  readonly manifests: readonly Manifest[]
  /** Manifests that could not be read: while there are any, nothing is the latest of their volume. */
  readonly damaged: readonly DamagedManifest[]
  /** The volume meant where the reference names none; null if there is no such volume. */
  readonly volume: string | null
}

const PREFIX_DIGITS_MIN = 4

/**
 * Finds the manifest that `reference` names: an id or the beginning of one, at least 4 digits;
 * `latest`, `latest~N` (the Nth before it) or `full` (the newest full one), each of them also as
 * `VOLUME@latest`. MANIFEST_NOT_FOUND, MANIFEST_AMBIGUOUS, or MANIFEST_CORRUPT where a damaged
 * manifest may be the one.
 */
export function resolveReference(reference: string, context: ReferenceContext): Manifest {
  const named = /^(?:(?<volume>.+)@)?(?<kind>latest|full)(?:~(?<back>[0-9]{1,9}))?$/s.exec(
    reference,
  )
  if (named?.groups === undefined) return resolveId(reference, context)
  const { kind, back = '0' } = named.groups
  const volume = named.groups['volume'] ?? context.volume ?? onlyVolume(reference, context)
  const [damage] = context.damaged.filter(damaged => damaged.volumeKey === volumeKey(volume))
  if (damage !== undefined) throw undecidable(reference, { volume, damage })
  const found = context.manifests
    .filter(manifest => manifest.volume === volume && (kind === 'latest' || manifest.mode === kind))
    .sort(oldestFirst)
    .at(-1 - Number(back))
  if (found !== undefined) return found
  throw new MoverError('MANIFEST_NOT_FOUND', `volume '${volume}' has no manifest '${reference}'`, {
    remedy: 'mover list shows what there is',
  })
}

/** Sorts by sequence, which is counted; times, which are not to be trusted, break ties. */
export function oldestFirst(a: Manifest, b: Manifest): number {
  return a.sequence - b.sequence || a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1)
}

function resolveId(reference: string, { manifests, damaged }: ReferenceContext): Manifest {
  const isPrefix = /^[0-9a-f]+$/.test(reference) && reference.length >= PREFIX_DIGITS_MIN
  const found = isPrefix ? manifests.filter(({ id }) => id.startsWith(reference)) : []
  if (found.length > 1) {
    const ids = found.map(({ id }) => id.slice(0, reference.length + 4)).join(', ')
    throw new MoverError('MANIFEST_AMBIGUOUS', `'${reference}' may be any of ${ids}`, {
      remedy: 'give more digits of the one you mean',
    })
  }
  if (found[0] !== undefined) return found[0]
  if (manifests.some(({ volume }) => volume === reference)) {
    throw new MoverError(
      'MANIFEST_NOT_FOUND',
      `'${reference}' is a volume, and no manifest of it`,
      {
        remedy: `name one of its manifests, as in '${reference}@latest'`,
      },
    )
  }
  const unread = damaged.length === 0 ? '' : `; ${damaged.length} damaged ones could not be read`
  throw new MoverError('MANIFEST_NOT_FOUND', `there is no manifest '${reference}'${unread}`, {
    remedy:
      'mover list shows what there is; a manifest is named by its id, 4 or more digits that begin ' +
      'it, latest, full, VOLUME@latest, VOLUME@latest~1 or VOLUME@full',
  })
}

function onlyVolume(reference: string, { manifests }: ReferenceContext): string {
  const volumes = new Set(manifests.map(({ volume }) => volume))
  const [volume, another] = volumes
  if (volume === undefined) {
    throw new MoverError('MANIFEST_NOT_FOUND', `there is no manifest '${reference}', nor any other`)
  }
  if (another === undefined) return volume
  throw new MoverError('MANIFEST_AMBIGUOUS', `'${reference}' is not said of which volume`, {
    remedy: `name the volume too, as in '${volume}@${reference}'`,
  })
}

function undecidable(
  reference: string,
  { volume, damage }: { readonly volume: string; readonly damage: DamagedManifest },
): MoverError {
  const message = `which manifest of '${volume}' is '${reference}' cannot be told: ${damage.name} is damaged`
  return new MoverError('MANIFEST_CORRUPT', message, {
    remedy: 'name a manifest by its id; mover verify names everything that is damaged',
    cause: damage.error,
  })
}
