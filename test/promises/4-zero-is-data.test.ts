/**
 * Promise 4. Zero is data: dirty and zero is recorded as zero, and restored as zero over whatever the
 * target held.
 */
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import type { ExtentState, StatedExtent } from '../../src/core/extent.js'
import { mapManifest } from '../../src/map-manifest.js'
import type { Repository } from '../../src/repository.js'
import { bitmapChanges, extentChanges, type ChangeSource } from '../../src/source/change-source.js'
import { gather } from '../support/gather.js'
import { bitmapOf } from '../support/picture.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { attachLoop, cmp, contentOf, noLoopDevices, punchHole, write } from '../support/volumes.js'

const CHUNK_BYTES = 16 * 1024

/*
 * Volumes as pictures, a letter a chunk: 'd' data, 'e' other data, 'z' written zeroes, '_' a hole,
 * 'h' half data and half zeroes, 'H' the other way round.
 */

/** Writes the chunks in which a picture differs from the one before; without one, all of them. */
async function draw(path: string, picture: string, before = ''): Promise<void> {
  if (before === '') writeFileSync(path, Buffer.alloc(picture.length * CHUNK_BYTES))
  for (const [slot, letter] of [...picture].entries()) {
    if (letter === before[slot]) continue
    const chunk = { offset: slot * CHUNK_BYTES, length: CHUNK_BYTES }
    if (letter === '_') await punchHole(path, chunk)
    else await write(path, chunk, { content: 'zero', seed: 0 })
    const half = { offset: chunk.offset, length: CHUNK_BYTES / 2 }
    const other = { offset: chunk.offset + CHUNK_BYTES / 2, length: CHUNK_BYTES / 2 }
    const extent = { d: chunk, e: chunk, h: half, H: other }[letter]
    const seed = letter === 'e' ? 1000 + slot : slot
    if (extent !== undefined) await write(path, extent, { content: 'noise', seed })
  }
}

interface Row {
  readonly name: string
  readonly before: string
  readonly after: string
  /** '#' is dirty. */
  readonly bitmap?: string
  /** As said by a tracker: 'c' clean, 'd' data, 'z' zero, 'u' unknown. */
  readonly extents?: string
}

const rows: Row[] = [
  {
    name: 'data that is zeroed',
    before: 'dddddddd',
    after: 'dzzdddzd',
    bitmap: '.##...#.',
  },
  {
    name: 'data that is trimmed',
    before: 'dddddddd',
    after: '__dd_ddd',
    bitmap: '##..#...',
  },
  {
    name: 'zero, said by the tracker, that was written',
    before: 'dddddddd',
    after: 'dzzdddzd',
    extents: 'czzccczc',
  },
  {
    name: 'zero, said by the tracker, that was trimmed',
    before: 'dddddddd',
    after: 'd__ddd_d',
    extents: 'czzccczc',
  },
  {
    name: 'zero, said by the tracker, of what is data: it is only hearsay',
    before: 'dddddddd',
    after: 'deededzd',
    extents: 'czzczczc',
  },
  {
    name: 'chunks that are zero in part',
    before: 'dddddddd',
    after: 'hdHdhHdd',
    bitmap: '#.#.##..',
  },
  {
    name: 'chunks that were zero in part',
    before: 'hhHHhHdd',
    after: 'zeH_hdhd',
    bitmap: '##.#.##.',
  },
  {
    name: 'zero that becomes data, and data zero',
    before: 'zz__zz__',
    after: 'zd_dhz_H',
    bitmap: '.#.##..#',
  },
  {
    name: 'all of it zeroed',
    before: 'dddddddd',
    after: 'zzzzzzzz',
    bitmap: '########',
  },
  {
    name: 'all of it trimmed',
    before: 'dddddddd',
    after: '________',
    extents: 'zzzzzzzz',
  },
  {
    name: 'zero that stays, dirty and clean',
    before: 'zz__d_zd',
    after: 'zz__d_zd',
    bitmap: '#.#...##',
  },
]

const STATES: Readonly<Record<string, ExtentState>> = {
  c: 'clean',
  d: 'data',
  z: 'zero',
  u: 'unknown',
}

function changesOf({ bitmap, extents = '' }: Row): ChangeSource {
  if (bitmap !== undefined) {
    return bitmapChanges({ bits: bitmapOf(bitmap), granularityBytes: CHUNK_BYTES, since: 'ck-1' })
  }
  const stated = [...extents].map((letter, slot): StatedExtent => {
    const state = STATES[letter]
    if (state === undefined) throw new Error(`nobody knows the state ${letter}`)
    return { offset: slot * CHUNK_BYTES, length: CHUNK_BYTES, state }
  })
  return extentChanges({ extents: stated, since: 'ck-1' })
}

/** What a manifest says of each slot: '.' is zero, '#' is data. */
async function pictureOfManifest(repository: Repository, manifest: string): Promise<string> {
  const extents = await gather(mapManifest({ repository, manifest }))
  return extents
    .map(({ state, length }) => (state === 'zero' ? '.' : '#').repeat(length / CHUNK_BYTES))
    .join('')
}

for (const row of rows) {
  t.test(row.name, async t => {
    const { before, after } = row
    const dir = t.testdir({})
    const [source, old] = [join(dir, 'volume'), join(dir, 'old')]
    const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: CHUNK_BYTES })
    await draw(source, before)
    copyFileSync(source, old)
    const options = { source, repository, volume: 'v' }
    const parent = idOf(await backedUp({ ...options, checkpoint: 'ck-1' }))
    await draw(source, after, before)
    const ways = {
      incremental: { changes: changesOf(row) },
      rescan: { parent },
      full: { full: true },
    }
    const roots = new Set<string | null>()
    for (const [mode, way] of Object.entries(ways)) {
      t.test(mode, async t => {
        const result = await backedUp({ ...options, ...way })
        t.equal(result.mode, mode)
        roots.add(result.root)
        const manifest = idOf(result)
        const expected = after.replace(/[z_]/g, '.').replace(/[^.]/g, '#')
        t.equal(await pictureOfManifest(repository, manifest), expected)
        if (mode !== 'incremental') return
        await restoreEverywhere(t, {
          repository,
          manifest,
          source,
          parent,
          old,
          dir: t.testdir({}),
        })
      })
    }
    t.test('to one root', async t => t.equal(roots.size, 1))
  })
}

// A device zeroes whole blocks by itself; what of a block is the volume's is written.
for (const bytes of [CHUNK_BYTES - 512, 2 * CHUNK_BYTES + 1536]) {
  t.test(`a volume of ${bytes} bytes, zero to its end`, async t => {
    const dir = t.testdir({ targets: {} })
    const [source, old] = [join(dir, 'volume'), join(dir, 'old')]
    const repository = await makeRepository(t, join(dir, 'repo'), { chunkBytes: CHUNK_BYTES })
    writeFileSync(source, contentOf('noise', 1, bytes))
    copyFileSync(source, old)
    const options = { source, repository, volume: 'v' }
    const parent = idOf(await backedUp(options))
    writeFileSync(source, Buffer.alloc(bytes))
    const manifest = idOf(await backedUp(options))
    const targets = join(dir, 'targets')
    await restoreEverywhere(t, { repository, manifest, source, parent, old, dir: targets })
  })
}

interface Restoring {
  readonly repository: Repository
  readonly manifest: string
  /** What must come out. */
  readonly source: string
  readonly parent: string
  /** The volume as the parent holds it. */
  readonly old: string
  readonly dir: string
}

/** To a new file, over files and devices full of ones, and onto the state of the parent. */
async function restoreEverywhere(t: Test, restoring: Restoring): Promise<void> {
  const { repository, manifest, source, parent, old, dir } = restoring
  const volumeBytes = statSync(source).size
  const tail = Buffer.alloc(3 * CHUNK_BYTES, 0xff)
  const ones = Buffer.alloc(volumeBytes, 0xff)
  const file = (name: string, ...bytes: Buffer[]) => {
    writeFileSync(join(dir, name), Buffer.concat(bytes))
    return join(dir, name)
  }
  const force = ['exists'] as const
  const targets: { target: string; force?: typeof force; onto?: string }[] = [
    { target: join(dir, 'a new file') },
    { target: file('a file', ones), force },
    { target: file('a longer file', ones, tail), force },
    { target: file('a shorter file', ones.subarray(512)), force },
    { target: file('a file, auto', ones), force, onto: 'auto' },
    { target: file('a longer file, auto', ones, tail), force, onto: 'auto' },
    { target: file('a shorter file, auto', ones.subarray(512)), force, onto: 'auto' },
    { target: file('a file in the old state', readFileSync(old)), force, onto: parent },
  ]
  for (const options of targets) {
    await restored({ repository, manifest, readBack: true, ...options })
    t.equal(await cmp(source, options.target), '', basename(options.target))
  }
  if (noLoopDevices !== false) return
  const devices = [
    { onto: null, holds: ones },
    { onto: 'auto', holds: ones },
    { onto: parent, holds: readFileSync(old) },
  ]
  for (const { onto, holds } of devices) {
    const backing = file(`a device onto ${onto}`, holds, tail)
    const target = await attachLoop(t, backing)
    const { untouchedTailBytes } = await restored({ repository, manifest, target, onto })
    t.equal(untouchedTailBytes, tail.length)
    t.equal(await cmp(source, target, { bytes: volumeBytes }), '', basename(backing))
    t.ok(readFileSync(backing).subarray(volumeBytes).equals(tail), 'the rest is left as it was')
  }
}
