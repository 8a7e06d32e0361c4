import t from 'tap'
import { parseBitmapDirectory } from '../../src/cbt/qcow2-directory.js'
import { parseQcow2Header } from '../../src/cbt/qcow2-header.js'
import { bitmapHealth } from '../../src/cbt/qcow2-health.js'
import { bitmapTable, parseTableEntries } from '../../src/cbt/qcow2-table.js'
import {
  bitmapsExtension,
  directoryEntry,
  qcow2Header,
  type EntryFields,
} from '../support/qcow2-bytes.js'

const RULES = { name: 'x', code: 'CHANGES_MALFORMED' } as const

function parse(count: number, ...entries: readonly Buffer[]) {
  return parseBitmapDirectory(Buffer.concat(entries), { count, clusterBytes: 65_536 }, RULES)
}

t.test('what a directory says', async t => {
  const bitmaps = parse(
    3,
    directoryEntry({ name: 'monday' }),
    directoryEntry({ name: 'été', flags: 1, granularityBits: 9, extra: Buffer.alloc(3, 7) }),
    directoryEntry({ name: 'x'.repeat(1023), flags: 12, type: 2 }),
  )
  const plain = {
    tableOffset: 0x6_0000,
    tableEntries: 1,
    granularityBits: 16,
    isInUse: false,
    isRecording: false,
    hasUnknownFlags: false,
    hasUnknownData: false,
    isDirtyBitmap: true,
  }
  t.strictSame(bitmaps, [
    { ...plain, name: 'monday', isRecording: true },
    { ...plain, name: 'été', isInUse: true, granularityBits: 9, hasUnknownData: true },
    { ...plain, name: 'x'.repeat(1023), hasUnknownFlags: true, isDirtyBitmap: false },
  ])
})

t.test('what is no directory is refused', async t => {
  const one = directoryEntry()
  const rows: [string, number, readonly Buffer[]][] = [
    ['fewer than said', 2, [one]],
    ['more than said', 1, [one, directoryEntry({ name: 'b' })]],
    ['one name twice', 2, [one, one]],
    ['cut off in an entry', 1, [one.subarray(0, 23)]],
    ['cut off in a name', 1, [one.subarray(0, 28)]],
    ['a name of no bytes', 1, [directoryEntry({ name: '' })]],
    ['a name too long', 1, [directoryEntry({ name: 'x'.repeat(1024) })]],
    ['a name of another length', 1, [directoryEntry({ nameBytes: 5, name: 'monday' })]],
    ['a name that is no text', 1, [directoryEntry({ name: Buffer.of(255) })]],
    ['padding that is not zero', 1, [directoryEntry({ padding: 1 })]],
    ['a table at no cluster', 1, [directoryEntry({ tableOffset: 512n })]],
    ['a table at nothing', 1, [directoryEntry({ tableOffset: 0n })]],
    ['a table beyond all', 1, [directoryEntry({ tableOffset: 2n ** 63n })]],
  ]
  for (const [name, count, entries] of rows) {
    t.throws(() => parse(count, ...entries), { code: RULES.code }, name)
  }
  const long = directoryEntry()
  long.writeUInt32BE(0xffff_ffff, 20)
  t.throws(() => parse(1, long), { code: RULES.code }, 'extra data beyond all')
})

function headerWith(fields: object) {
  return parseQcow2Header(
    qcow2Header({ autoclear: 1n, extensions: [[0x2385_2875, bitmapsExtension()]], ...fields }),
    RULES,
  )
}

t.test('which bitmaps are believed', async t => {
  const rows: [object, EntryFields | null, string | null][] = [
    [{}, {}, null],
    [{}, { flags: 6, extra: Buffer.alloc(8) }, null],
    [{}, { flags: 2, extra: Buffer.alloc(8) }, 'bitmap-unknown'],
    [{}, null, 'bitmap-absent'],
    [{}, { flags: 0 }, 'bitmap-disabled'],
    [{}, { flags: 3 }, 'bitmap-in-use'],
    [{}, { flags: 1 }, 'bitmap-in-use'],
    [{}, { flags: 0x8000_0002 }, 'bitmap-unknown'],
    [{}, { type: 0 }, 'bitmap-unknown'],
    [{}, { granularityBits: 8 }, 'bitmap-unknown'],
    [{}, { granularityBits: 32 }, 'bitmap-unknown'],
    [{ autoclear: 0n }, null, 'bitmaps-dropped'],
    [{ incompatible: 1n }, {}, 'image-dirty'],
    [{ incompatible: 3n }, {}, 'image-corrupt'],
    [{ incompatible: 32n }, {}, 'image-unknown'],
    [{ incompatible: 24n }, {}, null],
  ]
  for (const [header, entry, reason] of rows) {
    const [bitmap = null] = entry === null ? [] : parse(1, directoryEntry(entry))
    const health = bitmapHealth(headerWith(header), bitmap)
    t.strictSame(health, reason === null ? { kind: 'superset' } : { kind: 'lost', reason })
  }
})

t.test('a table has the size of the disk, to the cluster', async t => {
  // A cluster of bits, each of 64 KiB, stands for 32 GiB.
  const rows: [bigint, EntryFields, boolean][] = [
    [2n ** 30n, {}, true],
    [2n ** 30n, { tableEntries: 2 }, false],
    [2n ** 30n, { tableEntries: 0 }, false],
    [2n ** 35n + 1n, { tableEntries: 2 }, true],
    [2n ** 35n + 1n, { tableEntries: 1 }, false],
    [0n, { tableEntries: 0 }, true],
    [2n ** 45n, { tableEntries: 131_072, granularityBits: 9 }, false],
  ]
  for (const [volumeBytes, entry, isTaken] of rows) {
    const header = headerWith({ volumeBytes, l1Entries: 65_536 })
    const [bitmap] = parse(1, directoryEntry(entry))
    t.ok(bitmap)
    if (bitmap === undefined) continue
    const take = () => bitmapTable(bitmap, header, RULES)
    if (isTaken) t.match(take(), { entries: entry.tableEntries ?? 1, coverageBytes: 2 ** 35 })
    else t.throws(take, { code: RULES.code })
  }
})

t.test('entries of a table', async t => {
  const entry = (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(value)
    return bytes
  }
  const table = { clusterBytes: 65_536 }
  const bytes = Buffer.concat([0n, 1n, 0x7_0000n].map(entry))
  t.strictSame(parseTableEntries(bytes, table, RULES), ['clean', 'dirty', 0x7_0000])
  for (const value of [2n, 256n, 512n, 0x7_0001n, 2n ** 56n, 2n ** 63n, 2n ** 55n + 1n]) {
    t.throws(() => parseTableEntries(entry(value), table, RULES), { code: RULES.code }, `${value}`)
  }
  t.throws(() => parseTableEntries(entry(2n ** 55n), table, RULES), { code: RULES.code })
})
