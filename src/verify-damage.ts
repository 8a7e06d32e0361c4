import type { Extent } from './core/extent.js'
import { DAMAGED_EXTENTS_MAX } from './core/limits.js'
import type { Damage, MoverEvent } from './core/progress.js'

interface Found {
  readonly kind: Damage['kind']
  readonly name: string
  readonly message: string
  readonly manifests: Set<string>
  readonly extents: { readonly manifest: string; offset: number; length: number }[]
  /** The one that the next may go on, listed or not. */
  last: { readonly manifest: string; end: number } | null
  extentsInAll: number
}

/** Gathers what verify finds: each damaged thing once, with all that it makes unrestorable. */
export class DamageReport {
  readonly #found = new Map<string, Found>()
  readonly #emit: (event: MoverEvent) => void

  constructor(emit: (event: MoverEvent) => void) {
    this.#emit = emit
  }

  /** Notes a damaged thing and tells it at once; a thing that is known already keeps its message. */
  add(kind: Damage['kind'], name: string, message: string): void {
    const key = `${kind} ${name}`
    if (this.#found.has(key)) return
    const found: Found = {
      kind,
      name,
      message,
      manifests: new Set(),
      extents: [],
      last: null,
      extentsInAll: 0,
    }
    this.#found.set(key, found)
    this.#emit({ type: 'damage', damage: damageOf(found) })
  }

  /** Says that a manifest lacks something besides the bytes of its volume because of it. */
  concern(kind: Damage['kind'], name: string, { id }: { readonly id: string }): void {
    this.#found.get(`${kind} ${name}`)?.manifests.add(id)
  }

  /** Says that an extent of a manifest's volume cannot be restored because of it; ascending. */
  hit(
    kind: Damage['kind'],
    name: string,
    { manifest, offset, length }: Extent & { readonly manifest: string },
  ): void {
    const found = this.#found.get(`${kind} ${name}`)
    if (found === undefined) return
    found.manifests.add(manifest)
    const goesOn = found.last?.manifest === manifest && found.last.end === offset
    if (!goesOn) found.extentsInAll += 1
    found.last = { manifest, end: offset + length }
    const listed = found.extents.at(-1)
    if (found.extentsInAll > DAMAGED_EXTENTS_MAX) return
    if (goesOn && listed !== undefined) listed.length += length
    else found.extents.push({ manifest, offset, length })
  }

  all(): Damage[] {
    return [...this.#found.values()].map(damageOf)
  }
}

function damageOf({ kind, name, message, manifests, extents, extentsInAll }: Found): Damage {
  return {
    kind,
    name,
    message,
    manifests: [...manifests],
    extents: extents.map(extent => ({ ...extent })),
    extentsInAll,
  }
}
