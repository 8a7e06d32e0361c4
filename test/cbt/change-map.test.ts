import t from 'tap'
import { BatchedExtents } from '../../src/cbt/batched-extents.js'
import { coverVolume, drainExtents, eachExtent } from '../../src/cbt/change-map.js'
import type { StatedExtent } from '../../src/core/extent.js'
import { said, stated } from '../support/extents.js'
import { randomInteger, seededRandom } from '../support/random.js'

const CODE = 'CHANGES_MALFORMED'

t.test('gaps are clean where they may be, and neighbours of one state are one', async t => {
  const rows = [
    { extents: [], volumeBytes: 0, covers: [] },
    { extents: [], volumeBytes: 100, covers: ['clean 0+100'] },
    { extents: ['data 0+100'], volumeBytes: 100, covers: ['data 0+100'] },
    {
      extents: ['data 10+20'],
      volumeBytes: 100,
      covers: ['clean 0+10', 'data 10+20', 'clean 30+70'],
    },
    { extents: ['data 0+10', 'data 10+5'], volumeBytes: 15, covers: ['data 0+15'] },
    {
      extents: ['clean 5+5', 'data 12+3'],
      volumeBytes: 20,
      covers: ['clean 0+12', 'data 12+3', 'clean 15+5'],
    },
    {
      extents: ['data 0+5', 'zero 5+5', 'unknown 10+5'],
      volumeBytes: 15,
      covers: ['data 0+5', 'zero 5+5', 'unknown 10+5'],
    },
    {
      extents: ['data 0+5', 'data 6+5'],
      volumeBytes: 11,
      covers: ['data 0+5', 'clean 5+1', 'data 6+5'],
    },
    {
      extents: ['data 0+4294967296', 'data 4294967296+4294967296'],
      volumeBytes: 2 ** 33,
      covers: ['data 0+8589934592'],
    },
    {
      extents: ['data 9007199254740990+1'],
      volumeBytes: Number.MAX_SAFE_INTEGER,
      covers: ['clean 0+9007199254740990', 'data 9007199254740990+1'],
    },
  ]
  for (const { extents, volumeBytes, covers } of rows) {
    const cover = coverVolume(stated(...extents), { volumeBytes, gaps: 'clean', code: CODE })
    t.strictSame(await said(cover), covers, extents.join(', '))
    for (const size of [1, 2, 9]) {
      const rules = { volumeBytes, gaps: 'clean', code: CODE } as const
      const batched = coverVolume(inBatches(stated(...extents), size), rules)
      t.ok(batched instanceof BatchedExtents, 'batches stay batches')
      t.strictSame(await said(batched), covers, `${extents.join(', ')} by ${size}`)
    }
  }
})

/** The same extents, so many at a time, with an empty batch before each. */
function inBatches(extents: readonly StatedExtent[], size: number): BatchedExtents {
  return new BatchedExtents(async function* () {
    for (let from = 0; from < extents.length; from += size) {
      yield []
      yield extents.slice(from, from + size)
    }
  })
}

t.test('an answer that is not whole is refused, and says where', async t => {
  const rows = [
    { extents: ['data 0+5', 'data 4+5'], why: 'overlaps', offset: 4 },
    { extents: ['data 10+5', 'data 0+5'], why: 'precedes', offset: 0 },
    { extents: ['data 0+5', 'data 0+5'], why: 'overlaps', offset: 0 },
    { extents: ['data 0+0'], why: 'length', offset: 0 },
    { extents: ['data 0+-5'], why: 'length', offset: 0 },
    { extents: ['data -5+5'], why: 'offset', offset: -5 },
    { extents: ['data 0.5+5'], why: 'offset', offset: null },
    { extents: ['data NaN+5'], why: 'offset', offset: null },
    { extents: ['data 9007199254740992+5'], why: 'offset', offset: null },
    { extents: ['data 0+9007199254740992'], why: 'length', offset: 0 },
    { extents: ['data 0+101'], why: 'past the end', offset: 0 },
    { extents: ['data 99+2'], why: 'past the end', offset: 99 },
    { extents: ['data 100+1'], why: 'past the end', offset: 100 },
    { extents: ['data 200+1'], why: 'past the end', offset: 200 },
    { extents: ['dirty 0+5'], why: 'state', offset: 0 },
  ]
  for (const { extents, why, offset } of rows) {
    const cover = coverVolume(stated(...extents), { volumeBytes: 100, gaps: 'clean', code: CODE })
    await t.rejects(
      said(cover),
      { code: CODE, message: new RegExp(why), offset },
      extents.join(', '),
    )
    const rules = { volumeBytes: 100, gaps: 'clean', code: CODE } as const
    const batched = coverVolume(inBatches(stated(...extents), 2), rules)
    await t.rejects(drainExtents(batched), { code: CODE, message: new RegExp(why), offset })
  }
})

t.test('where gaps are refused, every byte must be named', async t => {
  const rules = { volumeBytes: 100, gaps: 'refused', code: 'SOURCE_FAILED' } as const
  const rows = [['data 1+99'], ['data 0+50', 'data 51+49'], ['data 0+99'], []]
  for (const extents of rows) {
    await t.rejects(
      said(coverVolume(stated(...extents), rules)),
      { code: 'SOURCE_FAILED' },
      extents.join(),
    )
  }
  t.strictSame(await said(coverVolume(stated('data 0+40', 'data 40+60'), rules)), ['data 0+100'])
  t.strictSame(await said(coverVolume([], { ...rules, volumeBytes: 0 })), [])
})

t.test('an answer at hand stays at hand', async t => {
  const rules = { volumeBytes: 10, gaps: 'clean', code: CODE } as const
  t.ok(Symbol.iterator in coverVolume([], rules))
  t.ok(Symbol.asyncIterator in coverVolume((async function* () {})(), rules))
  const later = async function* (extents: StatedExtent[]) {
    yield* extents
  }
  const arriving = later(stated('data 2+3'))
  const twoExtents = stated('data 0+5', 'zero 5+5')
  t.strictSame(await said(coverVolume(arriving, rules)), ['clean 0+2', 'data 2+3', 'clean 5+5'])
  for (const extents of [
    twoExtents,
    coverVolume(twoExtents, rules),
    later(twoExtents),
    inBatches(twoExtents, 1),
  ]) {
    const visited: number[] = []
    await eachExtent(extents, ({ offset }) => visited.push(offset))
    t.strictSame(visited, [0, 5])
  }
})

t.test('an aborted signal ends it', async t => {
  const controller = new AbortController()
  const endless = (async function* () {
    for (let offset = 0; ; offset += 1) {
      if (offset === 3) controller.abort()
      yield { offset, length: 1, state: offset % 2 === 0 ? 'data' : 'clean' } as const
    }
  })()
  const cover = coverVolume(
    endless,
    { volumeBytes: 1e6, gaps: 'clean', code: CODE },
    { signal: controller.signal },
  )
  await t.rejects(drainExtents(cover), { code: 'CANCELLED' })
})

t.test('says of every byte what the extents said of it, seed 3', async t => {
  const random = seededRandom(3)
  const states = ['data', 'zero', 'clean', 'unknown'] as const
  for (let round = 0; round < 200; round += 1) {
    const volumeBytes = randomInteger(random, { from: 0, to: 200 })
    const naive = new Array<string>(volumeBytes).fill('clean')
    const lines: string[] = []
    let offset = 0
    while (offset < volumeBytes) {
      offset += randomInteger(random, { from: 0, to: 3 })
      const length = Math.min(randomInteger(random, { from: 1, to: 9 }), volumeBytes - offset)
      if (length <= 0) break
      const state = states[randomInteger(random, { from: 0, to: 3 })] ?? 'data'
      lines.push(`${state} ${offset}+${length}`)
      naive.fill(state, offset, offset + length)
      offset += length
    }
    const covered: string[] = []
    let lastState = ''
    for await (const extent of coverVolume(stated(...lines), {
      volumeBytes,
      gaps: 'clean',
      code: CODE,
    })) {
      if (extent.state === lastState || extent.offset !== covered.length)
        t.fail(`round ${round}: not merged or not in order`)
      lastState = extent.state
      for (let byte = 0; byte < extent.length; byte += 1) covered.push(extent.state)
    }
    if (covered.join() !== naive.join()) t.strictSame(covered, naive, `round ${round}`)
  }
})
