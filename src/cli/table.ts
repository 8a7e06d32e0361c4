/** Which side of its column a cell keeps to. */
export type Align = 'left' | 'right'

/** Lines in which the cells of each column stand under each other, two spaces between columns. */
export function alignColumns(
  rows: readonly (readonly string[])[],
  aligns: readonly Align[],
): readonly string[] {
  // No Math.max(...rows): a list may have more rows than a call may have arguments.
  const widths = aligns.map((_, column) =>
    rows.reduce((widest, row) => Math.max(widest, widthOf(row[column])), 0),
  )
  return rows.map(row =>
    row
      .map((cell, column) => pad(cell, widths[column] ?? 0, aligns[column] ?? 'left'))
      .join('  ')
      .trimEnd(),
  )
}

/** A label and its value; null leaves the row out. */
export type Field = readonly [label: string, value: string] | null

/** Lines of a label and a value each, the values in one column. */
export function alignFields(fields: readonly Field[]): readonly string[] {
  return alignColumns(
    fields.filter(field => field !== null),
    ['left', 'left'],
  )
}

function pad(cell: string, width: number, align: Align): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(cell)))
  return align === 'left' ? cell + space : space + cell
}

/** Characters, not UTF-16 units. Double-width ones are counted once: good enough for names. */
function widthOf(cell: string | undefined): number {
  return cell === undefined ? 0 : [...cell].length
}
