import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  GRANULARITY_BYTES,
  changedVolume,
  pickGranules,
} from '../../bench/volumes/changed-volume.js'
import { dataGranules } from '../../bench/volumes/mixed-volume.js'
import { noise } from '../../bench/volumes/noise.js'
import { scatteredGranules } from '../../bench/volumes/sparse-volume.js'

t.test(
  'a changed volume differs in its granules and nowhere else, and its bitmap says so',
  async t => {
    const folder = t.testdir()
    mkdirSync(folder, { recursive: true })
    const before = join(folder, 'before.img')
    writeFileSync(before, Buffer.alloc(20 * GRANULARITY_BYTES, 7))
    const granules = pickGranules([...Array(20).keys()], 5, 1)
    t.strictSame(
      granules,
      [...granules].sort((a, b) => a - b),
    )
    t.equal(new Set(granules).size, 5)
    const { volume, bitmap } = changedVolume(before, join(folder, 'after.img'), {
      granules,
      seed: 1,
    })
    const [old, changed, bits] = [before, volume, bitmap].map(path => readFileSync(path)) as [
      Buffer,
      Buffer,
      Buffer,
    ]
    for (let granule = 0; granule < 20; granule += 1) {
      const [from, to] = [granule * GRANULARITY_BYTES, (granule + 1) * GRANULARITY_BYTES]
      const isSame = old.subarray(from, to).equals(changed.subarray(from, to))
      t.equal(isSame, !granules.includes(granule), `granule ${granule}`)
      const bit = Math.floor((bits[Math.floor(granule / 8)] ?? 0) / 2 ** (granule % 8)) % 2
      t.equal(bit === 1, granules.includes(granule), `bit ${granule}`)
    }
    t.equal(old.length, changed.length)
  },
)

t.test('granules of zeroes are no data', async t => {
  const path = join(t.testdir(), 'volume.img')
  const volume = Buffer.alloc(200 * GRANULARITY_BYTES)
  for (const granule of [0, 63, 64, 199]) volume[(granule + 1) * GRANULARITY_BYTES - 1] = 1
  writeFileSync(path, volume)
  t.strictSame(dataGranules(path, GRANULARITY_BYTES), [0, 63, 64, 199])
})

t.test('what is made up is the same for the same seed', async t => {
  const bytes = (seed: number) => Buffer.concat([...noise(seed, 100_000, 4096)])
  t.equal(bytes(1).length, 100_000)
  t.ok(bytes(1).equals(bytes(1)) && !bytes(1).equals(bytes(2)))
  const scattered = scatteredGranules(2 ** 40, 1000, 3)
  t.strictSame(scattered, scatteredGranules(2 ** 40, 1000, 3))
  t.equal(new Set(scattered).size, 1000)
  t.ok((scattered.at(-1) ?? Infinity) < 2 ** 40 / GRANULARITY_BYTES)
})
