import { inspect } from 'node:util'
import t from 'tap'
import { sealRecord } from '../../src/backend/sealed-record.js'
import type { RecordKind } from '../../src/backend/sealed-record.js'
import { decodeManifest, encodeManifest } from '../../src/manifest/manifest-file.js'
import type { ManifestFields } from '../../src/manifest/manifest-file.js'
import { treeRoot } from '../../src/manifest/tree-shape.js'
import { flipBit } from '../support/flip-bit.js'
import { goldenBytes, matchGolden } from '../support/golden.js'
import { manifestFields } from '../support/manifest-fields.js'

const KIND: RecordKind = {
  magic: 'MOVRMANI',
  context: 'mover 1 manifest',
  corrupt: 'MANIFEST_CORRUPT',
}

const tree = { height: 2, state: 'page', top: '77'.repeat(32) } as const
const geometry = { volumeBytes: 300 * 65_536 - 512, chunkBytes: 65_536 }

const GOLDEN: ManifestFields = {
  format: 1,
  repositoryId: '0123456789abcdef0123456789abcdef',
  sessionId: 'fedcba9876543210fedcba9876543210',
  volume: 'vm-42/sda ü',
  ...geometry,
  tree,
  root: treeRoot(geometry, tree),
  sequence: 3,
  previous: ['11'.repeat(32), '22'.repeat(32)],
  parent: '11'.repeat(32),
  mode: 'rescan',
  requested: 'incremental',
  reason: 'lineage',
  checkpoint: 'monday',
  fullyRead: '22'.repeat(32),
  createdMs: 1_700_000_000_000,
  writer: 'mover 0.1.0',
  bytes: {
    volume: geometry.volumeBytes,
    read: 131_072,
    carried: geometry.volumeBytes - 131_072,
    zero: 65_536,
    deduplicated: 0,
    stored: 65_536,
    written: 40_960,
  },
  audit: { slots: 256, bytes: 16_777_216 },
  added: { packs: 2, bytes: 36_864 },
  source: { kind: 'file', identity: '8:1 1234' },
  tags: { b: '2', a: '1', 'ä é': '' },
  set: null,
  attachments: [],
  durability: 'synced',
  degraded: false,
  encryption: 'none',
}

t.test('a manifest is written as FORMAT.md says', async t => {
  await matchGolden(t, 'manifest', encodeManifest(GOLDEN))
  const { id, ...fields } = decodeManifest(await goldenBytes('manifest'))
  t.strictSame(fields, { ...GOLDEN, tags: { a: '1', b: '2', 'ä é': '' } })
  t.equal(id, '413535d07b0b7e30f45181e0d4e6a3c6b69d92f3ec3648f7e5beabd486b3fc2f')
})

t.test('a manifest of a machine is written as FORMAT.md says', async t => {
  const attachments = [
    { name: 'domain.xml', type: 'application/xml', digest: '88'.repeat(32), bytes: 4_321 },
  ]
  const machine = { ...GOLDEN, set: { id: '99'.repeat(16), members: 2 }, attachments }
  await matchGolden(t, 'manifest-of-a-machine', encodeManifest(machine))
  const { set, attachments: read } = decodeManifest(await goldenBytes('manifest-of-a-machine'))
  t.strictSame({ set, attachments: read }, { set: machine.set, attachments })
})

t.test('equal manifests are equal bytes, in whatever order they were made', async t => {
  const shuffled = Object.fromEntries(Object.entries(GOLDEN).reverse()) as unknown as ManifestFields
  const tags = { 'ä é': '', a: '1', b: '2' }
  const previous = [...GOLDEN.previous].reverse()
  t.same(encodeManifest({ ...shuffled, tags, previous }), encodeManifest(GOLDEN))
})

t.test('every flipped bit and every cut is refused', async t => {
  const good = Buffer.from(encodeManifest(GOLDEN))
  for (let bit = 0; bit < good.length * 8; bit += 3) {
    t.throws(() => decodeManifest(flipBit(good, bit)), { code: 'MANIFEST_CORRUPT' }, `bit ${bit}`)
  }
  for (let length = 0; length < good.length; length += 7) {
    t.throws(() => decodeManifest(good.subarray(0, length)), { code: 'MANIFEST_CORRUPT' })
  }
})

const hex = (byte: string): string => byte.repeat(32)

const ATTACHMENT = { name: 'x', type: 'x', digest: hex('11'), bytes: 1 }

/** Whole, sealed, and from a stranger. Each row breaks one field, by a path with dots. */
const HOSTILE: readonly (readonly [path: string, ...values: unknown[]])[] = [
  ['format', 0, 2, '1', null],
  ['repositoryId', '', 'g'.repeat(32), hex('11'), 7],
  ['sessionId', '../../../../../../etc/passwd0000', null],
  ['volume', '', 'x'.repeat(1025), 'ü'.repeat(513), 7, null],
  ['volumeBytes', -1, 1.5, '1', null],
  ['chunkBytes', 0, 16_383, 65_537, 8_388_608, 2 ** 40, -65_536, '65536'],
  ['tree', null, [], 'page', { height: 2, state: 'page', top: hex('77'), more: 1 }],
  ['tree.height', 1, 3, -2, 2 ** 31],
  ['tree.state', 'zero', 'none', 1],
  ['tree.top', null, hex('78'), 'x', '77'.repeat(33)],
  ['root', hex('00'), '', null],
  ['sequence', 0, -1, 0.5, '3'],
  ['previous', null, {}, ['x'], [null], Array(4097).fill(hex('11'))],
  ['parent', '', 'latest', 7],
  ['mode', 'Full', '', null, 0],
  ['requested', 'none', null],
  ['reason', '', 'x'.repeat(257), 7],
  ['checkpoint', '', 'x'.repeat(1025), 7],
  ['fullyRead', hex('AB'), 7],
  ['createdMs', -1, '2024', null],
  ['writer', '', null],
  ['bytes', null, []],
  ['bytes.volume', 1],
  ['bytes.carried', 0, -1],
  ['bytes.written', -1, null, 0.5],
  ['audit.slots', 301, -1],
  ['audit', { slots: 0 }],
  ['added.packs', null, 0.5],
  ['source', null, { kind: 'file' }],
  ['source.kind', '', 7],
  ['source.identity', 'x'.repeat(4097), null],
  ['tags', null, [], { '': 'x' }, { a: 1 }, { a: 'x'.repeat(1025) }, { ['x'.repeat(129)]: '' }],
  ['tags', Object.fromEntries(Array.from({ length: 65 }, (_, tag) => [`t${tag}`, '']))],
  ['set', { id: 'x', members: 2 }, { id: '99'.repeat(16), members: 0 }, {}, []],
  ['set', { id: '99'.repeat(16), members: 4097 }, { id: '99'.repeat(16), members: 1, more: 1 }],
  ['attachments', null, {}, [null], [{ ...ATTACHMENT, more: 1 }], [ATTACHMENT, ATTACHMENT]],
  ['attachments', [{ ...ATTACHMENT, name: '' }], [{ ...ATTACHMENT, type: 'x'.repeat(129) }]],
  ['attachments', [{ ...ATTACHMENT, digest: 'x' }], [{ ...ATTACHMENT, bytes: 2 ** 21 + 1 }]],
  ['attachments', Array.from({ length: 17 }, (_, nth) => ({ ...ATTACHMENT, name: `${nth}` }))],
  ['durability', 'hoped', null],
  ['degraded', true, 0],
  ['encryption', 'aes-256-gcm', null],
  ['id', hex('11')],
  ['__proto__x', 1],
]

t.test(
  'a well-sealed manifest with a field that cannot be is refused, and never written',
  async t => {
    t.doesNotThrow(() => decodeManifest(sealRecord(KIND, GOLDEN)))
    for (const [path, ...values] of HOSTILE) {
      for (const value of values) {
        const record = spoiled(path, value)
        const said = `${path} = ${inspect(value).slice(0, 60)}`
        t.throws(() => decodeManifest(sealRecord(KIND, record)), { code: 'MANIFEST_CORRUPT' }, said)
      }
    }
    for (const field of Object.keys(GOLDEN)) {
      const record = Object.fromEntries(Object.entries(GOLDEN).filter(([name]) => name !== field))
      t.throws(
        () => decodeManifest(sealRecord(KIND, record)),
        { code: 'MANIFEST_CORRUPT' },
        `no ${field}`,
      )
    }
    for (const value of [null, 7, 'x', [], [GOLDEN]]) {
      t.throws(() => decodeManifest(sealRecord(KIND, value)), { code: 'MANIFEST_CORRUPT' })
    }
    const bug = { name: 'InvariantError' }
    t.throws(() => encodeManifest({ ...GOLDEN, sequence: 0 }), bug)
    t.throws(() => encodeManifest({ ...GOLDEN, volume: '\ud800' }), bug, 'half a character')
  },
)

t.test('an empty volume and a zero one have manifests too', async t => {
  const empty = manifestFields({ volumeBytes: 0 })
  t.equal(decodeManifest(encodeManifest(empty)).tree.height, 0)
  const zero = manifestFields({ volumeBytes: 2 ** 53 - 1, chunkBytes: 16_384 })
  t.match(decodeManifest(encodeManifest(zero)), {
    volumeBytes: 2 ** 53 - 1,
    tree: { state: 'zero' },
  })
})

function spoiled(path: string, value: unknown): unknown {
  const record = structuredClone(GOLDEN) as unknown as Record<string, unknown>
  const fields = path.split('.')
  const last = fields.pop() ?? ''
  let inner = record
  for (const field of fields) inner = inner[field] as Record<string, unknown>
  inner[last] = value
  return record
}
