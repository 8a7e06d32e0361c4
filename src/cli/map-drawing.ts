import { slotCount, slotRunOf, type Geometry } from '../core/chunk.js'
import type { StatedExtent } from '../core/extent.js'
import { formatBytes } from '../core/units.js'

/** What a cell of the drawing can be. */
type Look = 'data' | 'someData' | 'zero' | 'changedData' | 'changedZero'

const UNICODE: Readonly<Record<Look, string>> = {
  data: '█',
  someData: '▒',
  zero: '·',
  changedData: '◆',
  changedZero: '◇',
}

const ASCII: Readonly<Record<Look, string>> = {
  data: '#',
  someData: '+',
  zero: '.',
  changedData: '!',
  changedZero: '0',
}

const LEGEND: Readonly<Record<Look, string>> = {
  data: 'data',
  someData: 'some data',
  zero: 'zero',
  changedData: 'changed',
  changedZero: 'changed to zero',
}

const ROWS_MAX = 16
const ROW_CELLS_MIN = 8

/** Extents of a manifest that grow into a picture whose size does not depend on the volume's. */
export class MapDrawing {
  readonly #geometry: Geometry
  readonly #slotsPerCell: number
  readonly #rowCells: number
  readonly #offsetWidth: number
  /** Slots of each kind in each cell. */
  readonly #data: Float64Array
  readonly #changed: Float64Array
  readonly #changedToZero: Float64Array

  constructor(geometry: Geometry, { columns }: { readonly columns: number }) {
    const { volumeBytes, chunkBytes } = geometry
    this.#geometry = { volumeBytes, chunkBytes }
    this.#offsetWidth = 11
    this.#rowCells = Math.max(ROW_CELLS_MIN, columns - this.#offsetWidth - 3)
    const slots = slotCount(this.#geometry)
    this.#slotsPerCell = Math.max(1, Math.ceil(slots / (this.#rowCells * ROWS_MAX)))
    const cells = Math.ceil(slots / this.#slotsPerCell)
    this.#data = new Float64Array(cells)
    this.#changed = new Float64Array(cells)
    this.#changedToZero = new Float64Array(cells)
  }

  /** Counts an extent into the cells it lies in. */
  add(extent: StatedExtent & { readonly changed: boolean }): void {
    if (extent.length === 0) return
    const { first, count } = slotRunOf(this.#geometry, extent)
    const isZero = extent.state === 'zero'
    for (let slot = first; slot < first + count;) {
      const cell = Math.floor(slot / this.#slotsPerCell)
      const until = Math.min(first + count, (cell + 1) * this.#slotsPerCell)
      const slots = until - slot
      if (!isZero) grow(this.#data, cell, slots)
      if (extent.changed) grow(isZero ? this.#changedToZero : this.#changed, cell, slots)
      slot = until
    }
  }

  /** Rows of cells behind the offset they begin at, then what the characters mean. */
  lines({ isUnicode }: { readonly isUnicode: boolean }): readonly string[] {
    const characters = isUnicode ? UNICODE : ASCII
    const looks = Array.from(this.#data, (_, cell) => this.#lookOf(cell))
    const cellBytes = this.#slotsPerCell * this.#geometry.chunkBytes
    const rows: string[] = []
    for (let cell = 0; cell < looks.length; cell += this.#rowCells) {
      const row = looks.slice(cell, cell + this.#rowCells)
      const offset = formatBytes(cell * cellBytes).padStart(this.#offsetWidth)
      rows.push(`${offset}  ${row.map(look => characters[look]).join('')}`)
    }
    const used = (Object.keys(LEGEND) as Look[]).filter(look => looks.includes(look))
    const legend = used.map(look => `${characters[look]} ${LEGEND[look]}`)
    return [...rows, [`a cell is ${formatBytes(cellBytes)}`, ...legend].join('   ')]
  }

  #lookOf(cell: number): Look {
    if (at(this.#changed, cell) > 0) return 'changedData'
    if (at(this.#changedToZero, cell) > 0) return 'changedZero'
    const data = at(this.#data, cell)
    if (data === 0) return 'zero'
    return data < this.#slotsIn(cell) ? 'someData' : 'data'
  }

  #slotsIn(cell: number): number {
    const first = cell * this.#slotsPerCell
    return Math.min(this.#slotsPerCell, slotCount(this.#geometry) - first)
  }
}

function grow(counts: Float64Array, cell: number, slots: number): void {
  counts[cell] = at(counts, cell) + slots
}

function at(counts: Float64Array, cell: number): number {
  return counts[cell] ?? 0
}
