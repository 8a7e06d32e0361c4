/** Pictures of bitmaps and slots: '#' is marked, '.' is not. */

/** The bits of a picture, least significant first. */
export function bitmapOf(picture: string): Uint8Array {
  const bits = new Uint8Array(Math.ceil(picture.length / 8))
  for (let granule = 0; granule < picture.length; granule += 1) {
    if (picture[granule] !== '#') continue
    const byte = Math.floor(granule / 8)
    bits[byte] = (bits[byte] ?? 0) | (1 << (granule % 8))
  }
  return bits
}

/** Runs with a letter each, drawn over as many dots as there are slots. */
export function pictureOf(
  runs: Iterable<{ readonly first: number; readonly count: number; readonly letter?: string }>,
  slots: number,
): string {
  const picture = new Array<string>(slots).fill('.')
  for (const { first, count, letter = '#' } of runs) picture.fill(letter, first, first + count)
  return picture.join('')
}
