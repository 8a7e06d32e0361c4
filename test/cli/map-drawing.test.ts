import t from 'tap'
import { MapDrawing } from '../../src/cli/map-drawing.js'

interface Row {
  readonly name: string
  /** A slot a character: # data, . zero, ! changed, 0 changed to zero. */
  readonly slots: string
  readonly columns: number
  readonly rows: readonly string[]
}

function draw({ slots, columns }: Row, isUnicode = false): readonly string[] {
  const geometry = { volumeBytes: slots.length * 65_536, chunkBytes: 65_536 }
  const drawing = new MapDrawing(geometry, { columns })
  for (const [slot, character] of [...slots].entries()) {
    drawing.add({
      offset: slot * 65_536,
      length: 65_536,
      state: character === '.' || character === '0' ? 'zero' : 'data',
      changed: character === '!' || character === '0',
    })
  }
  return drawing.lines({ isUnicode })
}

const rows: readonly Row[] = [
  {
    name: 'a small volume has a cell a chunk',
    slots: '##..!0',
    columns: 80,
    rows: [
      '        0 B  ##..!0',
      'a cell is 64.00 KiB   # data   . zero   ! changed   0 changed to zero',
    ],
  },
  {
    name: 'a row ends with the terminal',
    slots: '########..',
    columns: 22,
    rows: ['        0 B  ########', ' 512.00 KiB  ..', 'a cell is 64.00 KiB   # data   . zero'],
  },
  { name: 'an empty volume has no rows', slots: '', columns: 80, rows: ['a cell is 64.00 KiB'] },
]

for (const row of rows) {
  t.test(row.name, async t => t.strictSame(draw(row), row.rows))
}

t.test('a large volume has cells of many chunks, and no more rows than fit', async t => {
  const slots = '#'.repeat(300) + '#.'.repeat(100) + '.'.repeat(398) + '0!' + '.'.repeat(100)
  const lines = draw({ name: '', slots, columns: 22, rows: [] })
  t.equal(lines.length, 16 + 1, 'sixteen rows of eight cells, and the legend')
  t.match(lines.at(-1), 'a cell is 512.00 KiB   # data   + some data   . zero   ! changed')
  const cells = lines
    .slice(0, -1)
    .map(line => line.slice(13))
    .join('')
  t.match(cells, /^#{37}\+{26}\.+!\.+$/, 'what changed shows even where it is a chunk of many')
})

t.test('a locale of UTF-8 gets blocks', async t => {
  const row = { name: '', slots: '#.!0', columns: 80, rows: [] }
  t.equal(draw(row, true)[0], '        0 B  █·◆◇')
})

t.test('one extent may cover any number of cells', async t => {
  const geometry = { volumeBytes: 2 ** 50, chunkBytes: 65_536 }
  const drawing = new MapDrawing(geometry, { columns: 22 })
  drawing.add({ offset: 0, length: 2 ** 49, state: 'data', changed: false })
  drawing.add({ offset: 2 ** 49, length: 2 ** 49, state: 'zero', changed: false })
  const cells = drawing
    .lines({ isUnicode: false })
    .slice(0, -1)
    .map(line => line.slice(13))
    .join('')
  t.equal(cells, '#'.repeat(64) + '.'.repeat(64))
})
