import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GRANULARITY_BYTES } from '../../bench/volumes/changed-volume.js'
import { guestChanges } from '../../bench/volumes/guest-changes.js'

/** A volume of granules: data where there is a `#`. */
function volumeOf(t: Test, picture: string): string {
  const path = join(t.testdir(), 'volume.img')
  const granules = [...picture].map(sign => Buffer.alloc(GRANULARITY_BYTES, sign === '#' ? 1 : 0))
  writeFileSync(path, Buffer.concat(granules))
  return path
}

const wanted = (times: number) => ({
  times,
  writtenBytes: 3 * GRANULARITY_BYTES,
  zeroedBytes: 2 * GRANULARITY_BYTES,
})

t.test('a guest zeroes other data each time, and writes what it never zeroes', async t => {
  const volume = volumeOf(t, '#.##.###.#.##')
  const changes = guestChanges(volume, wanted(3))
  t.strictSame(
    changes.map(({ zeroed }) => zeroed),
    [2, 5, 11].map(first => ({ first, count: 2 })),
  )
  for (const { granules } of changes) t.strictSame(granules, [0, 7, 9])
  t.equal(new Set(changes.map(({ seed }) => seed)).size, 3)
})

t.test('a volume with too few stretches of data is an error', async t => {
  t.throws(() => guestChanges(volumeOf(t, '##.#.#.#'), wanted(2)), /no 2 stretches/)
})
