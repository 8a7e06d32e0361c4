import t from 'tap'
import {
  newestCheckpoint,
  unneededCheckpoints,
  type OwnCheckpoint,
} from '../../../src/hypervisor/libvirt/own-checkpoints.js'

const [A, B] = ['a'.repeat(16), 'b'.repeat(16)] as const

const checkpoint = (name: string, lineages: Record<string, string>): OwnCheckpoint => ({
  name,
  lineages: new Map(Object.entries(lineages)),
})
const history = (disk: string, lineage: string, ...committed: string[]) => ({
  disk,
  lineage,
  committed,
  identities: new Map<string, string>(),
})

interface Row {
  readonly says: string
  readonly checkpoints: readonly OwnCheckpoint[]
  readonly histories: readonly ReturnType<typeof history>[]
  readonly targets?: readonly string[]
  readonly unneeded: readonly string[]
}

const rows: readonly Row[] = [
  {
    says: 'the newest committed one is needed, its predecessor is not',
    checkpoints: [checkpoint('1', { vda: A }), checkpoint('2', { vda: A })],
    histories: [history('vda', A, '1', '2')],
    unneeded: ['1'],
  },
  {
    says: 'one that was never committed is not',
    checkpoints: [checkpoint('1', { vda: A }), checkpoint('2', { vda: A })],
    histories: [history('vda', A, '1')],
    unneeded: ['2'],
  },
  {
    says: 'what one disk needs is kept for it, and the other one counts from its own',
    checkpoints: [checkpoint('1', { vda: A, vdb: B }), checkpoint('2', { vda: A, vdb: B })],
    histories: [history('vda', A, '1', '2'), history('vdb', B, '1')],
    unneeded: [],
  },
  {
    says: 'of another lineage of the same disk nothing is presumed',
    checkpoints: [checkpoint('1', { vda: B }), checkpoint('2', { vda: A })],
    histories: [history('vda', A, '2')],
    unneeded: [],
  },
  {
    says: 'nor of a disk that is not asked for',
    checkpoints: [checkpoint('1', { vda: A, vdb: B }), checkpoint('2', { vda: A })],
    histories: [history('vda', A, '1', '2')],
    unneeded: [],
  },
  {
    says: 'a disk that the domain has no more needs nothing',
    checkpoints: [checkpoint('1', { vda: A, vdx: B }), checkpoint('2', { vda: A })],
    histories: [history('vda', A, '1', '2')],
    unneeded: ['1'],
  },
  {
    says: 'where the newest is gone, the one before it serves',
    checkpoints: [checkpoint('1', { vda: A })],
    histories: [history('vda', A, '1', '2')],
    unneeded: [],
  },
  {
    says: 'one without a bitmap left is of no use',
    checkpoints: [checkpoint('1', {})],
    histories: [history('vda', A, '1')],
    unneeded: ['1'],
  },
]

for (const { says, checkpoints, histories, targets = ['vda', 'vdb'], unneeded } of rows) {
  t.test(says, async t => {
    t.strictSame(unneededCheckpoints({ checkpoints, histories, targets }), unneeded)
  })
}

t.test('changes are asked for since the newest committed one that is there', async t => {
  const checkpoints = [checkpoint('1', { vda: A }), checkpoint('3', { vda: B })]
  t.equal(newestCheckpoint(history('vda', A, '1', '2', '3'), checkpoints), '1')
  t.equal(newestCheckpoint(history('vda', A, '2'), checkpoints), null)
  t.equal(newestCheckpoint(history('vdb', A, '1'), checkpoints), null)
})
