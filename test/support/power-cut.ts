/**
 * What a power cut would leave at any moment of a traced program, where it leaves as little as a
 * file system may: only bytes that were synced since they were written, and only names whose folder
 * was synced since they were made.
 */
import { dirname, relative } from 'node:path'
import { descriptorPath, quotedPaths, type SystemCall } from './strace.js'

/** The calls that `tracePower` has to see. */
export const DURABILITY_CALLS = [
  'link,linkat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat',
  'fsync,fdatasync,write,writev,pwrite64,pwritev,ftruncate',
]

/** A name in the repository that the program is about to make or remove. */
export interface Naming {
  /** Below the repository's folder. */
  readonly name: string
  /** What would be lost if the power were cut now: names that were made, and have not been removed. */
  readonly lost: readonly string[]
}

/** What a trace comes to. Sessions and temporary files are left out: these end with the power anyway. */
export interface PowerTrace {
  /** `isWritten`: whether the bytes of what gets a name would outlast a power cut. */
  readonly linkings: readonly (Naming & { readonly isWritten: boolean })[]
  /** `linked`: how many linkings came before. */
  readonly unlinkings: readonly (Naming & { readonly linked: number })[]
  /** What would be lost when the program said its result; null when it never did. */
  readonly lostAtResult: readonly string[] | null
  /** Names that may have replaced others. */
  readonly renamed: readonly string[]
}

const PASSING = ['sessions/', 'tmp/']

/** Follows every file and folder below `root`, an absolute path without links, through the trace. */
export function tracePower(calls: readonly SystemCall[], root: string): PowerTrace {
  const disk = new TracedDisk(root)
  const linkings: (Naming & { isWritten: boolean })[] = []
  const unlinkings: (Naming & { linked: number })[] = []
  const renamed: string[] = []
  let lostAtResult: readonly string[] | null = null
  for (const call of calls) {
    if (call.answer === null || call.answer < 0) continue
    const [from = '', to = from] = quotedPaths(call)
    const name = relative(root, to)
    const lasting = !name.startsWith('..') && !PASSING.some(kind => name.startsWith(kind))
    const lost = () => disk.lostAt(call.began)
    if (/^link/.test(call.name)) {
      const isWritten = disk.isWritten(from, call.began)
      if (lasting) linkings.push({ name, isWritten, lost: lost() })
      disk.link(from, to, { ...call, lasting })
    } else if (/^unlink/.test(call.name)) {
      if (lasting) unlinkings.push({ name, lost: lost(), linked: linkings.length })
      disk.unlink(to)
    } else if (/^rename/.test(call.name)) renamed.push(name)
    else if (/^mkdir/.test(call.name)) disk.name(from, call)
    else if (/sync$/.test(call.name)) disk.sync(descriptorPath(call), call)
    else if (/^1<.*\{\\"type\\":\\"result/.test(call.args)) lostAtResult = lost()
    else disk.write(descriptorPath(call), call)
  }
  return { linkings, unlinkings, lostAtResult, renamed }
}

type Span = Pick<SystemCall, 'began' | 'ended'>

/** When things were last written, named and synced. A sync holds for what ended before it began. */
class TracedDisk {
  readonly #root: string
  readonly #bytes = new Map<string, { writtenAt: number; syncedAt: number }>()
  readonly #namedAt = new Map<string, number>()
  readonly #lasting = new Set<string>()
  readonly #syncs = new Map<string, Span[]>()

  constructor(root: string) {
    this.#root = root
  }

  write(path: string, { ended }: Span): void {
    const bytes = this.#bytes.get(path)
    if (bytes === undefined) this.#bytes.set(path, { writtenAt: ended, syncedAt: -1 })
    else bytes.writtenAt = Math.max(bytes.writtenAt, ended)
  }

  sync(path: string, { began, ended }: Span): void {
    const bytes = this.#bytes.get(path)
    const isFirst = bytes !== undefined && bytes.syncedAt <= bytes.writtenAt
    if (isFirst && began > bytes.writtenAt) bytes.syncedAt = ended
    this.#syncs.set(path, [...(this.#syncs.get(path) ?? []), { began, ended }])
  }

  name(path: string, { ended }: Span): void {
    this.#namedAt.set(path, ended)
  }

  link(from: string, to: string, call: Span & { readonly lasting: boolean }): void {
    const bytes = this.#bytes.get(from)
    if (bytes !== undefined) this.#bytes.set(to, bytes)
    this.name(to, call)
    if (call.lasting) this.#lasting.add(to)
  }

  unlink(path: string): void {
    this.#lasting.delete(path)
  }

  isWritten(path: string, place: number): boolean {
    const bytes = this.#bytes.get(path)
    return bytes !== undefined && bytes.syncedAt > bytes.writtenAt && bytes.syncedAt < place
  }

  lostAt(place: number): string[] {
    return [...this.#lasting]
      .filter(path => !this.isWritten(path, place) || !this.#isNamed(path, place))
      .map(path => relative(this.#root, path))
  }

  /** What the trace did not see being made was there before. */
  #isNamed(path: string, place: number): boolean {
    if (path === this.#root || path === dirname(path)) return true
    const namedAt = this.#namedAt.get(path)
    const syncs = this.#syncs.get(dirname(path)) ?? []
    const lasts = syncs.some(({ began, ended }) => began > (namedAt ?? 0) && ended < place)
    return (namedAt === undefined || lasts) && this.#isNamed(dirname(path), place)
  }
}
