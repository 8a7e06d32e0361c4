import t from 'tap'
import { beginsAsQcow2, headerBytesOf, parseQcow2Header } from '../../src/cbt/qcow2-header.js'
import { bitmapsExtension, qcow2Header, type HeaderFields } from '../support/qcow2-bytes.js'

const RULES = { name: 'x', code: 'CHANGES_MALFORMED' } as const
const BITMAPS = 0x2385_2875
const BACKING_FORMAT = 0xe279_2aca
const DATA_FILE = 0x4441_5441

t.test('what a header says', async t => {
  const plain = {
    version: 3,
    clusterBytes: 65_536,
    volumeBytes: 2 ** 30,
    isDirty: false,
    isCorrupt: false,
    hasUnknownFeatures: false,
    isEncrypted: false,
    backing: null,
    dataFile: null,
    bitmaps: null,
    areBitmapsDropped: false,
  }
  const rows: [string, HeaderFields, object][] = [
    ['nothing', {}, {}],
    ['version 2, which has no features', { version: 2, incompatible: 255n }, { version: 2 }],
    ['dirty', { incompatible: 1n }, { isDirty: true }],
    ['corrupt', { incompatible: 2n }, { isCorrupt: true }],
    ['another compression, extended entries', { incompatible: 24n }, {}],
    ['a feature of the future', { incompatible: 32n }, { hasUnknownFeatures: true }],
    ['encrypted', { cryptMethod: 2 }, { isEncrypted: true }],
    [
      'bitmaps',
      { autoclear: 1n, extensions: [[BITMAPS, bitmapsExtension()]] },
      { bitmaps: { count: 1, directoryBytes: 32, directoryOffset: 0x5_0000 } },
    ],
    [
      'bitmaps that a writer dropped, whatever is left of them',
      { extensions: [[BITMAPS, Buffer.alloc(3, 255)]] },
      { areBitmapsDropped: true },
    ],
    [
      'a raw data file',
      { incompatible: 4n, autoclear: 2n, extensions: [[DATA_FILE, Buffer.from('/dev/x')]] },
      { dataFile: { file: '/dev/x', isRaw: true } },
    ],
    [
      'a data file without a name',
      { incompatible: 4n },
      { dataFile: { file: null, isRaw: false } },
    ],
    [
      'an overlay',
      {
        backing: [512, 9],
        backingFile: 'base.img!x',
        extensions: [
          [BACKING_FORMAT, Buffer.from('raw')],
          [0x1234, Buffer.alloc(5)],
        ],
      },
      { backing: { file: 'base.img!', format: 'raw' } },
    ],
    [
      'an overlay that does not say on what',
      { backing: [512, 1], backingFile: 'b' },
      { backing: { file: 'b', format: null } },
    ],
  ]
  for (const [name, fields, expected] of rows) {
    t.strictSame(parseQcow2Header(qcow2Header(fields), RULES), { ...plain, ...expected }, name)
  }
})

t.test('what is no header is refused', async t => {
  const rows: [HeaderFields, RegExp][] = [
    [{ magic: 0x5146_49fa }, /does not begin/],
    [{ version: 4 }, /version 4/],
    [{ version: 1 }, /version 1/],
    [{ clusterBits: 8 }, /clusters/],
    [{ clusterBits: 22 }, /clusters/],
    [{ clusterBits: 0xffff_ffff }, /clusters/],
    [{ volumeBytes: 2n ** 53n }, /larger than any volume/],
    [{ cryptMethod: 3 }, /encryption 3/],
    [{ headerBytes: 96 }, /header of 96/],
    [{ headerBytes: 105 }, /header of 105/],
    [{ headerBytes: 0xffff_fff8 }, /header of/],
    [{ refcountOrder: 7 }, /reference counts/],
    [{ l1Offset: 100n }, /table that byte 40/],
    [{ l1Entries: 1 }, /table that byte 40/],
    [{ l1Entries: 5_000_000 }, /table that byte 40/],
    [{ refcountClusters: 0 }, /table that byte 48/],
    [{ snapshots: 70_000 }, /table that byte 64/],
    [{ backing: [512, 0] }, /backing file/],
    [{ backing: [512, 1024] }, /backing file/],
    [{ backing: [65_530, 10] }, /backing file/],
    [{ autoclear: 2n }, /data file is raw/],
    [{ extensions: [[7, Buffer.alloc(65_400)]], backing: [512, 1] }, /extension at 112/],
    [
      {
        extensions: [
          [DATA_FILE, Buffer.from('a')],
          [DATA_FILE, Buffer.from('b')],
        ],
      },
      /two extensions/,
    ],
    [{ incompatible: 4n, extensions: [[DATA_FILE, Buffer.of(255)]] }, /UTF-8/],
    [{ autoclear: 1n, extensions: [[BITMAPS, Buffer.alloc(8)]] }, /cut off/],
  ]
  for (const [fields, message] of rows) {
    t.throws(() => parseQcow2Header(qcow2Header(fields), RULES), {
      ...RULES,
      name: 'MoverError',
      message,
    })
  }
  const extensions = [
    bitmapsExtension({ count: 0 }),
    bitmapsExtension({ count: 65_536 }),
    bitmapsExtension({ reserved: 1 }),
    bitmapsExtension({ directoryBytes: 2n ** 27n }),
    bitmapsExtension({ directoryBytes: 2n ** 60n }),
    bitmapsExtension({ directoryOffset: 0n }),
    bitmapsExtension({ directoryOffset: 2n ** 63n }),
    bitmapsExtension({ directoryOffset: 512n }),
  ]
  for (const extension of extensions) {
    const header = qcow2Header({ autoclear: 1n, extensions: [[BITMAPS, extension]] })
    t.throws(() => parseQcow2Header(header, RULES), { code: RULES.code })
  }
})

t.test('a header that is cut off anywhere', async t => {
  const whole = qcow2Header({ autoclear: 1n, extensions: [[BITMAPS, bitmapsExtension()]] })
  for (let length = 0; length < 200; length += 1) {
    try {
      const { bitmaps } = parseQcow2Header(whole.subarray(0, length), RULES)
      t.ok(bitmaps === null ? length < 120 : length >= 144, `${length}`)
    } catch (error) {
      t.match(error, { code: RULES.code }, `${length}`)
    }
  }
})

t.test('how much of an image is its header', async t => {
  const rows: [number, number][] = [
    [9, 65_536],
    [16, 65_536],
    [21, 2 ** 21],
    [63, 2 ** 21],
    [255, 2 ** 21],
  ]
  for (const [clusterBits, bytes] of rows) {
    t.equal(headerBytesOf(qcow2Header({ clusterBits })), bytes)
  }
  t.equal(headerBytesOf(Buffer.alloc(0)), 65_536)
  t.ok(beginsAsQcow2(Buffer.from('QFI\xfb', 'latin1')))
  t.notOk(beginsAsQcow2(Buffer.from('QFI')))
})
