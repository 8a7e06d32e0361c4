import t from 'tap'
import type { Manifest } from '../../src/core/manifest.js'
import { chooseParent, withHealth, type ParentQuestion } from '../../src/plan/parent-choice.js'
import { manifestLike } from '../support/manifests.js'

const MiB = 1024 * 1024

const full = manifestLike({ id: 'f0'.repeat(32), sequence: 1, checkpoint: 'ck-1', mode: 'full' })
const older = manifestLike({
  id: 'a1'.repeat(32),
  sequence: 2,
  checkpoint: 'ck-2',
  mode: 'incremental',
})
const newest = manifestLike({
  id: 'b2'.repeat(32),
  sequence: 3,
  checkpoint: 'ck-3',
  mode: 'incremental',
})
const sinceFull = manifestLike({ ...older, fullyRead: full.id })
const manifests = [full, older, newest]

const question: ParentQuestion = {
  repositoryId: full.repositoryId,
  volume: full.volume,
  geometry: { volumeBytes: MiB, chunkBytes: 65_536 },
  manifests,
  full: false,
  named: null,
  changes: null,
  doubts: new Set(),
}

const named = (reference: string, manifest: Manifest) => ({ reference, manifest })
const since = (checkpoint: string | null) => ({ since: checkpoint })
const resized = { volumeBytes: MiB + 512, chunkBytes: 65_536 }
const otherChunk = { volumeBytes: MiB, chunkBytes: 131_072 }

interface Row {
  readonly name: string
  readonly given: Partial<ParentQuestion>
  readonly chosen: readonly [Manifest | null, string, string, string | null, boolean]
}

const rows: Row[] = [
  // No change map: rescan when there is a parent, else full.
  {
    name: 'nothing is known of the volume',
    given: { manifests: [] },
    chosen: [null, 'full', 'full', null, false],
  },
  { name: 'the newest is rescanned', given: {}, chosen: [newest, 'rescan', 'rescan', null, false] },
  {
    name: 'a named parent is rescanned',
    given: { named: named('latest~1', older) },
    chosen: [older, 'rescan', 'rescan', null, false],
  },
  {
    name: 'a rescan takes a resized volume',
    given: { geometry: resized },
    chosen: [newest, 'rescan', 'rescan', null, false],
  },
  {
    name: 'slots of another size',
    given: { geometry: otherChunk },
    chosen: [null, 'full', 'rescan', 'chunk-size', false],
  },

  // Full means full.
  { name: 'full', given: { full: true }, chosen: [null, 'full', 'full', null, false] },
  {
    name: 'full with a map',
    given: { full: true, changes: since(null) },
    chosen: [null, 'full', 'full', null, false],
  },

  // A map that says from which checkpoint it counts.
  {
    name: 'the checkpoint finds its manifest',
    given: { changes: since('ck-2') },
    chosen: [older, 'incremental', 'incremental', null, true],
  },
  {
    name: 'the newest checkpoint',
    given: { changes: since('ck-3') },
    chosen: [newest, 'incremental', 'incremental', null, true],
  },
  {
    name: 'a checkpoint nobody has',
    given: { changes: since('ck-9') },
    chosen: [newest, 'rescan', 'incremental', 'lineage', false],
  },
  {
    name: 'a checkpoint, and no manifest',
    given: { changes: since('ck-1'), manifests: [] },
    chosen: [null, 'full', 'incremental', 'no-parent', false],
  },
  {
    name: 'a parent that has it',
    given: { changes: since('ck-2'), named: named('a1', older) },
    chosen: [older, 'incremental', 'incremental', null, true],
  },
  {
    name: 'latest, which has it',
    given: { changes: since('ck-3'), named: named('latest', newest) },
    chosen: [newest, 'incremental', 'incremental', null, true],
  },
  {
    name: 'a parent that has another',
    given: { changes: since('ck-2'), named: named('latest', newest) },
    chosen: [newest, 'rescan', 'incremental', 'lineage', false],
  },
  {
    name: 'a parent that has none',
    given: { changes: since('ck-2'), named: named('cc', manifestLike({ id: 'cc'.repeat(32) })) },
    chosen: [manifestLike({ id: 'cc'.repeat(32) }), 'rescan', 'incremental', 'lineage', false],
  },
  {
    name: 'the full one, which has it',
    given: { changes: since('ck-1'), named: named('full', full) },
    chosen: [full, 'differential', 'differential', null, true],
  },
  {
    name: 'VOLUME@full',
    given: { changes: since('ck-1'), named: named('vm-1/sda@full', full) },
    chosen: [full, 'differential', 'differential', null, true],
  },
  {
    name: 'the newest full one, older than the newest, by id is a differential too',
    given: { changes: since('ck-1'), named: named('f0', full) },
    chosen: [full, 'differential', 'differential', null, true],
  },
  {
    name: 'the full one, which has another',
    given: { changes: since('ck-3'), named: named('full', full) },
    chosen: [full, 'rescan', 'differential', 'lineage', false],
  },

  // What was tracked since a manifest with a doubt.
  {
    name: 'the full one is doubted, and what was made since',
    given: { changes: since('ck-2'), doubts: new Set([full.id]), manifests: [full, sinceFull] },
    chosen: [sinceFull, 'rescan', 'incremental', 'tracker-lied', false],
  },
  {
    name: 'the full one itself is doubted',
    given: { changes: since('ck-1'), doubts: new Set([full.id]) },
    chosen: [full, 'rescan', 'differential', 'tracker-lied', false],
  },
  {
    name: 'a doubted one is rescanned as any other',
    given: { doubts: new Set([newest.id]) },
    chosen: [newest, 'rescan', 'rescan', null, false],
  },
  {
    name: 'one that was read in full since the doubt',
    given: { changes: since('ck-2'), doubts: new Set([full.id]) },
    chosen: [older, 'incremental', 'incremental', null, true],
  },

  // A map that does not: the parent is named by id.
  {
    name: 'an id',
    given: { changes: since(null), named: named(older.id, older) },
    chosen: [older, 'incremental', 'incremental', null, true],
  },
  {
    name: 'a prefix of one',
    given: { changes: since(null), named: named('a1a1', older) },
    chosen: [older, 'incremental', 'incremental', null, true],
  },

  // Maps that are not believed: trackers lie about grown tails and about shrink-then-grow.
  {
    name: 'resized',
    given: { changes: since('ck-3'), geometry: resized },
    chosen: [newest, 'rescan', 'incremental', 'resized', false],
  },
  {
    name: 'shrunk',
    given: {
      changes: since(null),
      named: named('b2', newest),
      geometry: { volumeBytes: 512, chunkBytes: 65_536 },
    },
    chosen: [newest, 'rescan', 'incremental', 'resized', false],
  },
  {
    name: 'resized, differential',
    given: { changes: since('ck-1'), named: named('full', full), geometry: resized },
    chosen: [full, 'rescan', 'differential', 'resized', false],
  },
  {
    name: 'lineage and resized',
    given: { changes: since('ck-9'), geometry: resized },
    chosen: [newest, 'rescan', 'incremental', 'lineage', false],
  },
  {
    name: 'slots of another size, with a map',
    given: { changes: since('ck-3'), geometry: otherChunk },
    chosen: [null, 'full', 'incremental', 'chunk-size', false],
  },
]

for (const { name, given, chosen } of rows) {
  t.test(name, async t => {
    const { parent, mode, requested, reason, useChanges } = chooseParent({ ...question, ...given })
    t.strictSame([parent, mode, requested, reason, useChanges], chosen)
    t.equal(
      reason === null,
      mode === requested,
      'a reason is given exactly where the mode is another',
    )
  })
}

t.test('a map that nothing pins is refused: another run may commit in between', async t => {
  const rows = [
    null,
    named('latest', newest),
    named('full', full),
    named('vm-1/sda@latest~1', older),
    named('vm-1/sda@latest', newest),
  ]
  for (const parent of rows) {
    t.throws(
      () => chooseParent({ ...question, named: parent, changes: since(null) }),
      { code: 'CHANGES_UNPINNED', remedy: /since=/ },
      parent?.reference ?? 'no parent',
    )
  }
  t.throws(() => chooseParent({ ...question, manifests: [], changes: since(null) }), {
    code: 'CHANGES_UNPINNED',
  })
})

t.test('a parent of somewhere else, or a degraded one, is refused', async t => {
  const rows: [Partial<Record<keyof Manifest, unknown>>, RegExp][] = [
    [{ volume: 'vm-1/sdb' }, /is of volume 'vm-1\/sdb'/],
    [{ repositoryId: '99'.repeat(16) }, /another repository/],
    [{ degraded: true }, /degraded/],
  ]
  for (const [fields, message] of rows) {
    const manifest = { ...older, ...fields } as Manifest
    for (const changes of [null, since('ck-2'), since(null)]) {
      t.throws(() => chooseParent({ ...question, named: named(manifest.id, manifest), changes }), {
        code: 'PARENT_UNUSABLE',
        message,
      })
    }
    const others = [full, { ...newest, ...fields } as Manifest]
    t.equal(
      chooseParent({ ...question, manifests: others }).parent,
      full,
      'and never chosen unasked',
    )
    t.equal(
      chooseParent({ ...question, manifests: others, changes: since('ck-3') }).reason,
      'lineage',
    )
  }
})

t.test('a full backup has no parent', async t => {
  t.throws(() => chooseParent({ ...question, full: true, named: named('latest', newest) }), {
    code: 'ARGUMENT_INVALID',
  })
})

t.test(
  'lost tracking costs a rescan, with the tracker’s reason; anything else costs nothing',
  async t => {
    const choice = chooseParent({ ...question, changes: since('ck-3') })
    t.strictSame(withHealth(choice, { kind: 'lost', reason: 'bitmap inconsistent' }), {
      parent: newest,
      mode: 'rescan',
      requested: 'incremental',
      reason: 'bitmap inconsistent',
      useChanges: false,
    })
    t.equal(withHealth(choice, { kind: 'exact' }), choice)
    t.equal(withHealth(choice, { kind: 'superset' }), choice)
    const doubted = chooseParent({ ...question, changes: since('ck-9') })
    t.equal(
      withHealth(doubted, { kind: 'lost', reason: 'resized' }),
      doubted,
      'the first doubt is the reason',
    )
  },
)
