import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import { bitmapChanges, extentChanges, statedChanges } from '../../src/source/change-source.js'
import { said, stated } from '../support/extents.js'
import { bitmapOf } from '../support/picture.js'

const sameSize = (volumeBytes: number) => ({ volumeBytes, parentVolumeBytes: volumeBytes })

t.test('a bitmap becomes extents over the whole volume', async t => {
  const rows = [
    { bitmap: '........', volumeBytes: 4096, extents: ['clean 0+4096'] },
    {
      bitmap: '.##..#..',
      volumeBytes: 4096,
      extents: [
        'clean 0+512',
        'data 512+1024',
        'clean 1536+1024',
        'data 2560+512',
        'clean 3072+1024',
      ],
    },
    { bitmap: '########', volumeBytes: 4000, extents: ['data 0+4000'] },
    { bitmap: '#', volumeBytes: 1, extents: ['data 0+1'] },
    { bitmap: '', volumeBytes: 0, extents: [] },
  ]
  for (const { bitmap, volumeBytes, extents } of rows) {
    const source = bitmapChanges({ bits: bitmapOf(bitmap), granularityBytes: 512 })
    const answer = await source.changed(sameSize(volumeBytes))
    t.strictSame(answer.health, { kind: 'superset' })
    t.equal(answer.granularityBytes, 512)
    t.strictSame(await said(answer.extents), extents, bitmap)
  }
})

t.test('a bitmap that does not fit to the byte is refused', async t => {
  for (const volumeBytes of [0, 4097, 8 * 512 * 2, 1]) {
    const source = bitmapChanges({ bits: new Uint8Array(1), granularityBytes: 512 })
    if (volumeBytes === 1) {
      t.ok(await source.changed(sameSize(1)), 'seven padding bits are not a misfit')
      continue
    }
    await t.rejects(
      source.changed(sameSize(volumeBytes)),
      { code: 'CHANGES_MALFORMED', message: /does not fit/, remedy: /granularity/ },
      String(volumeBytes),
    )
  }
})

t.test('of a resized volume nothing is believed, grown or shrunk', async t => {
  const rows = [
    { name: 'fits the parent only', bytes: 1, volumeBytes: 8192, parentVolumeBytes: 4096 },
    { name: 'fits the volume only', bytes: 2, volumeBytes: 8192, parentVolumeBytes: 4096 },
    { name: 'fits both', bytes: 1, volumeBytes: 4096, parentVolumeBytes: 3584 },
    { name: 'shrunk', bytes: 1, volumeBytes: 512, parentVolumeBytes: 4096 },
  ]
  for (const { name, bytes, ...request } of rows) {
    const source = bitmapChanges({ bits: new Uint8Array(bytes), granularityBytes: 512 })
    const answer = await source.changed(request)
    t.strictSame(answer.health, { kind: 'lost', reason: 'resized' }, name)
    t.strictSame(await said(answer.extents), [`unknown 0+${request.volumeBytes}`], name)
  }
  const source = bitmapChanges({ bits: new Uint8Array(3), granularityBytes: 512 })
  const request = { volumeBytes: 8192, parentVolumeBytes: 4096 }
  await t.rejects(
    source.changed(request),
    { code: 'CHANGES_MALFORMED' },
    'one that fits neither is nonsense',
  )
  const gone = await extentChanges({ extents: [] }).changed({
    volumeBytes: 0,
    parentVolumeBytes: 512,
  })
  t.strictSame(await said(gone.extents), [])
})

t.test('extents are checked, and what they do not name is clean', async t => {
  const source = extentChanges({
    extents: stated('data 10+20', 'zero 30+5', 'unknown 90+10'),
    since: 'ck-1',
  })
  t.equal(source.since, 'ck-1')
  const answer = await source.changed(sameSize(100))
  t.equal(answer.granularityBytes, 1)
  t.strictSame(await said(answer.extents), [
    'clean 0+10',
    'data 10+20',
    'zero 30+5',
    'clean 35+55',
    'unknown 90+10',
  ])

  async function* arriving() {
    yield* stated('data 0+5')
  }
  const late = await extentChanges({ extents: arriving() }).changed(sameSize(10))
  t.strictSame(await said(late.extents), ['data 0+5', 'clean 5+5'])

  for (const lines of [['data 95+6'], ['data 5+5', 'data 0+5'], ['data 0+5', 'data 4+1']]) {
    const wrong = await extentChanges({ extents: stated(...lines) }).changed(sameSize(100))
    await t.rejects(said(wrong.extents), { code: 'CHANGES_MALFORMED' }, lines.join())
  }
})

t.test('extents of a resized volume may fit either size, but must fit one', async t => {
  const request = { volumeBytes: 100, parentVolumeBytes: 200 }
  const fits = await extentChanges({ extents: stated('data 150+50') }).changed(request)
  t.strictSame(fits.health, { kind: 'lost', reason: 'resized' })
  const wrong = extentChanges({ extents: stated('data 150+51') })
  await t.rejects(wrong.changed(request), {
    code: 'CHANGES_MALFORMED',
    message: /volume of 100 bytes/,
  })
})

t.test('no answer is an error of the source, and never an empty one', async t => {
  const failing = statedChanges({
    name: 'nbd',
    since: null,
    granularityBytes: 1,
    async *read() {
      yield* stated('data 0+1')
      throw new Error('connection lost')
    },
  })
  const answer = await failing.changed(sameSize(10))
  await t.rejects(said(answer.extents), { message: 'connection lost' })
  const lossy = statedChanges({
    name: 'nbd',
    since: null,
    granularityBytes: 1,
    async *read({ volumeBytes }) {
      if (volumeBytes === 10) throw new MoverError('CHANGES_FAILED', 'connection lost')
      yield* stated('data 0+9')
    },
  })
  const request = { volumeBytes: 10, parentVolumeBytes: 9 }
  await t.rejects(failing.changed(request), { message: 'connection lost' })
  await t.rejects(lossy.changed(request), { code: 'CHANGES_FAILED' }, 'and no reason to rescan')
})

t.test('granularity is a multiple of a sector', async t => {
  t.ok(
    bitmapChanges({ bits: new Uint8Array(0), granularityBytes: 196_608 }),
    'not only powers of two: LVM has others',
  )
  for (const granularityBytes of [0, -512, 1, 511, 513, 65_537, NaN, Infinity, 512.5]) {
    t.throws(
      () => bitmapChanges({ bits: new Uint8Array(0), granularityBytes }),
      { code: 'ARGUMENT_INVALID' },
      String(granularityBytes),
    )
  }
})

t.test('names, and an aborted signal', async t => {
  const source = bitmapChanges({
    bits: new Uint8Array(1),
    granularityBytes: 512,
    name: 'bitmap:a.bin',
  })
  t.equal(source.name, 'bitmap:a.bin')
  t.equal(source.since, null)
  const signal = AbortSignal.abort()
  await t.rejects(source.changed({ ...sameSize(512), signal }), { code: 'CANCELLED' })
  const controller = new AbortController()
  async function* arriving() {
    yield* stated('data 0+5')
    controller.abort()
    yield* stated('zero 5+5')
  }
  const late = extentChanges({ extents: arriving() })
  const answer = await late.changed({ ...sameSize(512), signal: controller.signal })
  await t.rejects(said(answer.extents), { code: 'CANCELLED' })
})
