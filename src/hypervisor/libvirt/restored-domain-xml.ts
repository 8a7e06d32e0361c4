/**
 * The description of a domain whose disks were restored: their places are new, and all else stays as it was,
 * to the letter.
 */
import { attributeOf, childOf, childrenOf, escapeXml, parseXml, type XmlElement } from './xml.js'
import { diskElements, targetOf } from './domain-disks.js'

/** Where a disk was restored to. */
export interface RestoredPlace {
  readonly type: 'file' | 'block'
  readonly path: string
  readonly format: 'raw' | 'qcow2'
}

export interface RestoredDomain {
  readonly name: string
  readonly xml: string
  /** What the description needs and the backup does not have. */
  readonly missing: readonly string[]
}

/** What a disk was. */
export interface OldDisk {
  /** A qcow2 image. */
  readonly isImage: boolean
  /** By QEMU, below what the guest sees. */
  readonly isEncrypted: boolean
}

/** The disks of a description, by their targets. */
export function oldDisks(description: string): ReadonlyMap<string, OldDisk> {
  return new Map(
    diskElements(parseXml(description)).map(disk => {
      const isImage = attributeOf(childOf(disk, 'driver'), 'type') === 'qcow2'
      const isEncrypted = [disk, childOf(disk, 'source')].some(
        place => childOf(place, 'encryption') !== null,
      )
      return [targetOf(disk), { isImage, isEncrypted }]
    }),
  )
}

/** Puts the disks where `places` says, by their targets; one that the description does not have is missing in it. */
export function restoredDomain(
  description: string,
  places: ReadonlyMap<string, RestoredPlace>,
): RestoredDomain {
  const root = parseXml(description)
  const edits: Edit[] = []
  const missing: string[] = []
  for (const disk of diskElements(root)) {
    const target = targetOf(disk)
    const place = places.get(target)
    if (place !== undefined) edits.push(...diskEdits(disk, place, description))
    else missing.push(...missingSource(disk, target))
  }
  const described = new Set(diskElements(root).map(targetOf))
  for (const [target, { path }] of places) {
    if (described.has(target)) continue
    missing.push(
      `disk ${target}, attached only while it ran and restored to ${path}: attach it again`,
    )
  }
  const nvram = childOf(childOf(root, 'os'), 'nvram')
  if (nvram !== null) missing.push(`the firmware's variables, ${nvram.text.trim() || 'nvram'}`)
  const devices = childOf(root, 'devices')
  if (childrenOf(devices, 'tpm').length > 0) missing.push('the state of its TPM')
  return { name: childOf(root, 'name')?.text ?? '', xml: edited(description, edits), missing }
}

/** What stands from `start` to `end` is replaced. */
interface Edit {
  readonly start: number
  readonly end: number
  readonly text: string
}

/** Of the old place: what it was made of, where it was mirrored to, and how it was reached. */
const OLD_PLACE = ['backingStore', 'mirror', 'auth', 'encryption', 'source', 'driver']

function diskEdits(disk: XmlElement, place: RestoredPlace, description: string): Edit[] {
  const attribute = place.type === 'block' ? 'dev' : 'file'
  const driver = childOf(disk, 'driver')
  const options = new Map([['name', 'qemu'], ...(driver?.attributes ?? [])])
  options.set('type', place.format)
  // libvirt refuses it of a raw disk.
  if (place.format === 'raw') options.delete('discard_no_unref')
  const text =
    `${openTag('disk', new Map([...disk.attributes, ['type', place.type]]))}` +
    `${openTag('driver', options)}${driverContent(driver, place, description)}</driver>` +
    `<source ${attribute}='${escapeXml(place.path)}'/>`
  const opening = { start: disk.start, end: disk.contentStart, text }
  const gone = OLD_PLACE.flatMap(name => childrenOf(disk, name))
  return [opening, ...gone.map(({ start, end }) => ({ start, end, text: '' }))]
}

/** libvirt refuses a cache for the tables of a raw disk, which has none. */
function driverContent(
  driver: XmlElement | null,
  { format }: RestoredPlace,
  description: string,
): string {
  if (driver === null) return ''
  const gone = format === 'raw' ? childrenOf(driver, 'metadata_cache') : []
  const content = { start: driver.contentStart, end: driver.contentEnd }
  return edited(
    description.slice(0, content.end),
    [{ start: 0, end: content.start }, ...gone].map(({ start, end }) => ({ start, end, text: '' })),
  )
}

function openTag(name: string, attributes: ReadonlyMap<string, string>): string {
  const words = [...attributes].map(([key, value]) => ` ${key}='${escapeXml(value)}'`)
  return `<${name}${words.join('')}>`
}

/** A disk that was not backed up keeps its place, which may be gone. */
function missingSource(disk: XmlElement, target: string): string[] {
  const source = childOf(disk, 'source')
  const place = ['file', 'dev', 'name', 'volume', 'dir']
    .map(name => attributeOf(source, name))
    .find(found => found !== null)
  return typeof place !== 'string' ? [] : [`disk ${target}, ${place}`]
}

/** Makes edits that do not overlap. */
function edited(text: string, edits: readonly Edit[]): string {
  let result = ''
  let at = 0
  for (const edit of edits.toSorted((a, b) => a.start - b.start)) {
    result += text.slice(at, edit.start) + edit.text
    at = edit.end
  }
  return result + text.slice(at)
}
