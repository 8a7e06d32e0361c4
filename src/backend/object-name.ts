/**
 * The names that objects may have. Names are data, never paths: a backend takes only names
 * that match one of these shapes, so nothing stored or said by a stranger can lead out of it.
 */
import { invariant } from '../core/invariant.js'

const SHAPES = [
  /^config\/[1-9][0-9]{0,8}$/,
  /^packs\/([0-9a-f]{2})\/([0-9a-f]{2})\/\1\2[0-9a-f]{60}$/,
  /^index\/[0-9a-f]{64}$/,
  /^manifests\/[0-9a-f]{64}\/[0-9a-f]{32}$/,
  /^doubts\/[0-9a-f]{64}$/,
  /^sessions\/[0-9a-f]{32}$/,
] as const

/** The folders that objects lie in. */
export const OBJECT_KINDS = ['config', 'packs', 'index', 'manifests', 'doubts', 'sessions'] as const

/** What can be listed: all objects of a kind, or the manifests of one volume. */
export type ObjectPrefix = `${(typeof OBJECT_KINDS)[number]}/` | `manifests/${string}/`

/** Whether `name` is the name of an object. */
export function isObjectName(name: string): boolean {
  return SHAPES.some(shape => shape.test(name))
}

/** Checks a name that our own code made, before it is used. */
export function checkObjectName(name: string): void {
  invariant(isObjectName(name), `'${name}' is the name of an object`)
}

/** Checks what our own code wants listed. */
export function checkObjectPrefix(prefix: string): void {
  const isPrefix =
    OBJECT_KINDS.some(kind => prefix === `${kind}/`) || /^manifests\/[0-9a-f]{64}\/$/.test(prefix)
  invariant(isPrefix, `'${prefix}' is what objects are listed by`)
}

/** The name of the `n`th config, counted from 1. */
export function configName(n: number): string {
  return `config/${n}`
}

/** The name of a pack by its id, 64 hex digits. */
export function packName(id: string): string {
  return `packs/${id.slice(0, 2)}/${id.slice(2, 4)}/${id}`
}

/** The name of an index segment by its id, 64 hex digits. */
export function segmentName(id: string): string {
  return `index/${id}`
}

/** The id in the name of a pack, a segment or a doubt. */
export function objectId(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** Whether `name` is the name of an index segment. */
export function isSegmentName(name: string): boolean {
  return name.startsWith('index/')
}

/** The name of the manifest that a session writes for the volume with that key. */
export function manifestName({ volumeKey, sessionId }: ManifestPlace): string {
  return `manifests/${volumeKey}/${sessionId}`
}

/** The name of the doubt about what was tracked since the manifest with that id, 64 hex digits. */
export function doubtName(manifestId: string): string {
  return `doubts/${manifestId}`
}

/** The name of a session by its id, 32 hex digits. */
export function sessionName(id: string): string {
  return `sessions/${id}`
}

/** Where a manifest lies: the digest of its volume's name, and the session that wrote it. */
export interface ManifestPlace {
  readonly volumeKey: string
  readonly sessionId: string
}

/** Whether `name` is a folder that objects of its kind lie in, below the kind's own. */
export function isObjectFolder(name: string): boolean {
  return /^packs\/[0-9a-f]{2}(\/[0-9a-f]{2})?$/.test(name) || /^manifests\/[0-9a-f]{64}$/.test(name)
}
