/** What the text behind an option means. Each throws ARGUMENT_INVALID with what would be right. */
import { MoverError } from '../core/errors.js'
import type { Extent } from '../core/extent.js'
import { ZSTD_LEVEL_MAX, ZSTD_LEVEL_MIN } from '../core/limits.js'
import { parseBytes } from '../core/units.js'

/** What stands for bytes that are no UTF-8 once Node has read the command line: another name than was typed. */
export const NOT_UTF8 = '\uFFFD'

export const WHY_NOT_UTF8 = 'it is not UTF-8; name it by another path, as through a link'

/** Any text but the empty one: no name and no path is empty. */
export function parseText(text: string): string {
  if (text === '') throw invalid('the value is empty')
  if (text.includes(NOT_UTF8)) throw invalid(WHY_NOT_UTF8)
  return text
}

/** A size that is more than nothing: a limit of 0 bytes lets nothing through. */
export function parseSize(text: string): number {
  const bytes = parseBytes(text)
  if (bytes === 0) throw invalid('it is more than 0 bytes')
  return bytes
}

/** '100MiB/s' or '100MiB', in bytes a second. */
export function parseRate(text: string): number {
  return parseSize(text.replace(/\/s$/, ''))
}

/** A whole number from 1. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(count) || count < 1) {
    throw invalid(`'${text}' is not a whole number from 1`)
  }
  return count
}

/** What a repository writes its chunks with; the level only with zstd. */
export interface CodecChoice {
  readonly codec: 'lz4' | 'zstd' | 'none'
  readonly level?: number
}

/** 'lz4', 'none', 'zstd' or 'zstd:LEVEL'. */
export function parseCodec(text: string): CodecChoice {
  const [codec = '', level, ...rest] = text.split(':')
  if (rest.length === 0 && codec === 'zstd' && level !== undefined) {
    return { codec, level: parseLevel(level) }
  }
  if (level === undefined && (codec === 'lz4' || codec === 'zstd' || codec === 'none')) {
    return { codec }
  }
  throw invalid(`'${text}' is not a codec: it is lz4, zstd, zstd:LEVEL or none`)
}

function parseLevel(text: string): number {
  const level = Number(text)
  if (!/^\d+$/.test(text) || level < ZSTD_LEVEL_MIN || level > ZSTD_LEVEL_MAX) {
    throw invalid(`'${text}' is not a level of zstd: it is ${ZSTD_LEVEL_MIN} to ${ZSTD_LEVEL_MAX}`)
  }
  return level
}

/** 'default', 'off', or a share of the slots called clean: '5', '5%', '0.5'. */
export function parseAudit(text: string): 'default' | 'off' | number {
  if (text === 'default' || text === 'off') return text
  const percent = Number(/^(\d+(?:\.\d+)?)%?$/.exec(text)?.[1])
  if (!(percent > 0 && percent <= 100)) {
    throw invalid(`'${text}' is not an audit: it is default, off, or a percentage up to 100`)
  }
  return percent
}

/** A tag's name and value; the value may hold further '='. */
export function parseTag(text: string): readonly [name: string, value: string] {
  const equals = text.indexOf('=')
  if (equals < 1) throw invalid(`'${text}' is not a tag: write NAME=VALUE`)
  return [text.slice(0, equals), text.slice(equals + 1)]
}

/** Tags by name. A name given twice is refused: one of its values would be lost. */
export function tagsOf(
  pairs: readonly (readonly [name: string, value: string])[],
): Readonly<Record<string, string>> {
  const tags = new Map<string, string>()
  for (const [name, value] of pairs) {
    if (tags.has(name)) throw invalid(`--tag ${name} is given twice`)
    tags.set(name, value)
  }
  return Object.fromEntries(tags)
}

/** 'OFFSET+LENGTH', both sizes: '1MiB+64KiB'. */
export function parseRange(text: string): Extent {
  const [offset, length, ...rest] = text.split('+')
  if (offset === undefined || length === undefined || rest.length > 0) {
    throw invalid(`'${text}' is not a range: write OFFSET+LENGTH, such as 1MiB+64KiB`)
  }
  const range = { offset: parseBytes(offset), length: parseBytes(length) }
  if (!Number.isSafeInteger(range.offset + range.length)) {
    throw invalid(`'${text}' ends beyond 2^53 - 1 bytes`)
  }
  return range
}

/** A parser of one of these words, which lists them all when it refuses. */
export function parseWordOf<W extends string>(words: readonly W[]): (text: string) => W {
  return text => {
    const word = words.find(known => known === text)
    if (word === undefined) throw invalid(`'${text}' is none of ${words.join(', ')}`)
    return word
  }
}

function invalid(message: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', message)
}
