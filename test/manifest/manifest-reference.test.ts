import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import type { Manifest } from '../../src/core/manifest.js'
import { oldestFirst, resolveReference } from '../../src/manifest/manifest-reference.js'
import { volumeKey } from '../../src/manifest/volume-key.js'
import { manifestLike } from '../support/manifests.js'

const id = (start: string): string => start.padEnd(64, '0')

const ONE: readonly Manifest[] = [
  manifestLike({ id: id('aaaa1'), sequence: 1, mode: 'full' }),
  manifestLike({ id: id('aaaa2'), sequence: 2, mode: 'incremental', createdMs: 9 }),
  manifestLike({ id: id('bbbb3'), sequence: 3, mode: 'full', createdMs: 1 }),
  manifestLike({ id: id('cccc4'), sequence: 4, mode: 'rescan', createdMs: 5 }),
]
const TWO: readonly Manifest[] = [
  ...ONE,
  manifestLike({ id: id('dddd5'), sequence: 1, volume: 'a@b@latest' }),
  manifestLike({ id: id('eeee6'), sequence: 9, volume: 'a@b@latest', mode: 'differential' }),
]

t.test('a reference names one manifest, or says what to do', async t => {
  const rows: {
    reference: string
    manifests?: readonly Manifest[]
    volume?: string
    is: string
  }[] = [
    { reference: 'latest', is: 'cccc4' },
    { reference: 'latest~0', is: 'cccc4' },
    { reference: 'latest~1', is: 'bbbb3' },
    { reference: 'latest~3', is: 'aaaa1' },
    { reference: 'latest~4', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'full', is: 'bbbb3' },
    { reference: 'full~1', is: 'aaaa1' },
    { reference: 'full~2', is: 'MANIFEST_NOT_FOUND' },
    { reference: id('aaaa2'), is: 'aaaa2' },
    { reference: 'bbbb', is: 'bbbb3' },
    { reference: 'bbb', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'aaaa', is: 'MANIFEST_AMBIGUOUS' },
    { reference: 'aaaa2', is: 'aaaa2' },
    { reference: 'AAAA2', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'ffff', is: 'MANIFEST_NOT_FOUND' },
    { reference: '', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'newest', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'latest~', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'latest~-1', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'vm-1/sda@latest', is: 'cccc4' },
    { reference: 'vm-1/sda@full', is: 'bbbb3' },
    { reference: 'vm-9@latest', is: 'MANIFEST_NOT_FOUND' },
    { reference: '@latest', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'latest', manifests: [], is: 'MANIFEST_NOT_FOUND' },
    { reference: 'latest', manifests: TWO, is: 'MANIFEST_AMBIGUOUS' },
    { reference: 'latest', manifests: TWO, volume: 'vm-1/sda', is: 'cccc4' },
    { reference: 'latest', manifests: TWO, volume: 'vm-9', is: 'MANIFEST_NOT_FOUND' },
    { reference: 'vm-1/sda@latest', manifests: TWO, volume: 'vm-9', is: 'cccc4' },
    { reference: 'a@b@latest@latest', manifests: TWO, is: 'eeee6' },
    { reference: 'a@b@latest@latest~1', manifests: TWO, is: 'dddd5' },
    { reference: 'dddd5', manifests: TWO, volume: 'vm-1/sda', is: 'dddd5' },
  ]
  for (const { reference, manifests = ONE, volume = null, is } of rows) {
    const resolve = () => resolveReference(reference, { manifests, damaged: [], volume })
    const said = `'${reference}' in ${volume ?? 'any volume'} is ${is}`
    if (!is.startsWith('MANIFEST')) t.equal(resolve().id, id(is), said)
    else
      t.throws(resolve, { code: is, message: new RegExp(reference.replace(/[^a-z]/g, '.')) }, said)
  }
})

t.test('the order is that of the sequence; times and ids only break ties', async t => {
  const sorted = [
    manifestLike({ id: id('b'), sequence: 1, createdMs: 900 }),
    manifestLike({ id: id('c'), sequence: 2, createdMs: 1 }),
    manifestLike({ id: id('a'), sequence: 2, createdMs: 2 }),
    manifestLike({ id: id('d'), sequence: 2, createdMs: 2 }),
  ]
  t.strictSame([...sorted].reverse().sort(oldestFirst), sorted)
})

t.test('while one is damaged, none is the latest of its volume', async t => {
  const error = new MoverError('MANIFEST_CORRUPT', 'does not match its digest')
  const damagedOf = (volume: string) => {
    const key = volumeKey(volume)
    return [{ name: `manifests/${key}/x`, volumeKey: key, error }]
  }
  const mine = { manifests: ONE, damaged: damagedOf('vm-1/sda'), volume: null }
  for (const reference of ['latest', 'full', 'latest~2', 'vm-1/sda@latest']) {
    t.throws(() => resolveReference(reference, mine), {
      code: 'MANIFEST_CORRUPT',
      message: /cannot be told/,
      remedy: /by its id/,
    })
  }
  t.equal(resolveReference('bbbb', mine).id, id('bbbb3'), 'an id still names it')
  t.throws(() => resolveReference('ffff', mine), {
    code: 'MANIFEST_NOT_FOUND',
    message: /1 damaged/,
  })
  const other = { manifests: ONE, damaged: damagedOf('vm-2'), volume: null }
  t.equal(resolveReference('latest', other).id, id('cccc4'), 'of another volume')
})
