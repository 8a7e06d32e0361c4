/** Sizes, rates and durations as people write and read them. */
import { MoverError } from './errors.js'

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

const SIZE = /^(\d+)(?:\.(\d+))?\s*([kmgtp]?)(i?b|b?)$/i

/**
 * Reads '512', '64KiB', '64K' (1024, as dd, truncate and qemu-img count), '10MB' (1000) or '1.5GiB';
 * anything that is not a whole, safe number of bytes is `ARGUMENT_INVALID`.
 */
export function parseBytes(text: string): number {
  const match = SIZE.exec(text.trim())
  if (match === null) throw invalidSize(text, 'write it like 512, 64KiB or 1.5GiB')
  const [, whole = '', fraction = '', prefix = '', suffix = ''] = match
  const isDecimal = suffix.toLowerCase() === 'b' && prefix !== ''
  if (prefix === '' && suffix.toLowerCase() === 'ib') throw invalidSize(text, "'iB' needs a prefix")

  // In bigints, because 1.1 × 1000 is not 1100 in floating point.
  const power = BigInt(' kmgtp'.indexOf(prefix.toLowerCase() || ' '))
  const scaled = BigInt(whole + fraction) * (isDecimal ? 1000n : 1024n) ** power
  const divisor = 10n ** BigInt(fraction.length)
  if (scaled % divisor !== 0n) throw invalidSize(text, 'it is not a whole number of bytes')
  const bytes = Number(scaled / divisor)
  if (!Number.isSafeInteger(bytes)) throw invalidSize(text, 'it is larger than 2^53 - 1 bytes')
  return bytes
}

/** Writes bytes with two decimals in the largest binary unit that fits: '1.50 GiB', '512 B'. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`
  let unit = 0
  let value = bytes
  // Compared as printed, so that nothing comes out as '1024.00 KiB'.
  while (Number(value.toFixed(2)) >= 1024 && unit < BINARY.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${value.toFixed(2)} ${BINARY[unit]}`
}

/** Writes a rate as `formatBytes` writes bytes: '512.00 MiB/s'. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`
}

/** Writes a duration in its two largest units: '2.7 s', '1 min 05 s', '3 h 04 min', '2 d 03 h'. */
export function formatDuration(seconds: number): string {
  if (Number(seconds.toFixed(1)) < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return pair(whole, { unit: 60, names: ['min', 's'] })
  if (whole < 86_400) return pair(Math.floor(whole / 60), { unit: 60, names: ['h', 'min'] })
  return pair(Math.floor(whole / 3600), { unit: 24, names: ['d', 'h'] })
}

interface Pair {
  readonly unit: number
  readonly names: readonly [string, string]
}

function pair(count: number, { unit, names }: Pair): string {
  const small = String(count % unit).padStart(2, '0')
  return `${Math.floor(count / unit)} ${names[0]} ${small} ${names[1]}`
}

function invalidSize(text: string, why: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `'${text}' is not a size: ${why}`)
}
