import { readExtents } from '../../src/cbt/extents-file.js'
import { said } from './extents.js'

/** What the text of an extents file says of a volume of 1,000 bytes, or of as many as asked for. */
export function saidByText(
  text: string,
  options: { readonly volumeBytes?: number; readonly isPinned?: boolean } = {},
): Promise<string[]> {
  const { volumeBytes = 1000, isPinned = true } = options
  async function* pieces(): AsyncGenerator<string> {
    yield text
  }
  return said(readExtents(pieces(), { name: 'extents:map', volumeBytes, isPinned }))
}

/** The line that ends our own shape. */
export function endLine(extents: number): string {
  return `{"end":true,"extents":${extents}}\n`
}

/** A dirty bitmap as nbdinfo prints it. */
export function nbdText(...extents: readonly [number, number, 'clean' | 'dirty'][]): string {
  const elements = extents.map(([offset, length, description]) => {
    return { offset, length, type: description === 'dirty' ? 1 : 0, description }
  })
  return JSON.stringify(elements)
}

/** A diff as rbd prints it. */
export function rbdText(...extents: readonly [number, number, unknown][]): string {
  return JSON.stringify(extents.map(([offset, length, exists]) => ({ offset, length, exists })))
}
