import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createFileTarget, openFileTarget } from '../../src/target/file-target.js'

t.test('a new file has no name before it is whole and durable', async t => {
  const folder = t.testdir()
  const path = join(folder, 'volume')
  {
    await using target = createFileTarget(path)
    await target.prepare(100_001)
    t.equal(target.readsAsZero, true)
    t.match(readdirSync(folder), [/^\.volume\.[0-9a-f]{8}\.mover$/])
    await target.flush()
    await target.finish(100_001)
    t.strictSame(readdirSync(folder), ['volume'])
  }
  t.equal(statSync(path).size, 100_001)
  t.equal(statSync(path).mode % 0o1000, 0o600, "a volume's bytes are its owner's alone")
  t.ok(readFileSync(path).every(byte => byte === 0))
})

t.test('a restore that ends early leaves nothing, prepared or not', async t => {
  const folder = t.testdir()
  {
    await using _untouched = createFileTarget(join(folder, 'untouched'))
    await using target = createFileTarget(join(folder, 'volume'))
    await target.prepare(4096)
  }
  t.strictSame(readdirSync(folder), [])
})

t.test('a file that appeared meanwhile is not replaced', async t => {
  const folder = t.testdir()
  const path = join(folder, 'volume')
  await using target = createFileTarget(path)
  await target.prepare(4096)
  writeFileSync(path, 'mine')
  await t.rejects(target.finish(4096), { code: 'TARGET_EXISTS' })
  t.equal(readFileSync(path, 'utf8'), 'mine')
})

t.test('a name may be as long and as odd as a name may be', async t => {
  const folder = t.testdir()
  for (const name of ['v'.repeat(255), 'ü'.repeat(127), '-n', ' \n\t', '\u{1f4be}', '\'"$(x)']) {
    await using target = createFileTarget(join(folder, name))
    await target.prepare(512)
    await target.finish(512)
    t.equal(statSync(join(folder, name)).size, 512, JSON.stringify(name))
  }
  t.equal(readdirSync(folder).length, 6)
})

t.test('a file that is there is emptied, so that it reads as zero', async t => {
  const path = join(t.testdir({ volume: 'x'.repeat(10_000) }), 'volume')
  await using target = openFileTarget(path, { keeps: false })
  t.equal(target.readsAsZero, true)
  t.equal(readFileSync(path, 'utf8'), 'x'.repeat(10_000), 'not before it is prepared')
  await target.prepare(20_000)
  t.ok(readFileSync(path).every(byte => byte === 0))
  t.equal(statSync(path).size, 20_000)
})

t.test(
  'a file that is built upon only grows before the end, and is then exactly as long',
  async t => {
    for (const { before, volumeBytes, prepared } of [
      { before: 10_000, volumeBytes: 20_001, prepared: 20_001 },
      { before: 10_000, volumeBytes: 10_000, prepared: 10_000 },
      { before: 10_000, volumeBytes: 511, prepared: 10_000 },
      { before: 10_000, volumeBytes: 0, prepared: 10_000 },
    ]) {
      const path = join(t.testdir({ volume: 'x'.repeat(before) }), 'volume')
      await using target = openFileTarget(path, { keeps: true })
      t.equal(target.readsAsZero, false)
      t.equal(target.bytes, before)
      await target.prepare(volumeBytes)
      t.equal(statSync(path).size, prepared)
      await target.flush()
      await target.finish(volumeBytes)
      const kept = Math.min(before, volumeBytes)
      t.equal(statSync(path).size, volumeBytes)
      t.equal(readFileSync(path, 'latin1').slice(0, kept), 'x'.repeat(kept))
    }
  },
)
