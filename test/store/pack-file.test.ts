import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { digestHex } from '../../src/core/digest.js'
import { hashBytes } from '../../src/native/blake3.js'
import { decodeEntry, packEntries } from '../../src/store/pack-file.js'
import { objectsByKind } from '../support/damage.js'
import { matchGolden } from '../support/golden.js'
import { packOf, type MadePack } from '../support/packs.js'
import { backedUp, makeRepository } from '../support/repository.js'
import { contentOf, KiB, makeVolume, MiB } from '../support/volumes.js'

const REPOSITORY = '11'.repeat(16)
const CORRUPT = { code: 'PACK_CORRUPT' }

const text = contentOf('text', 1, 1000)
const noise = contentOf('noise', 2, 700)
const rightPack: MadePack = {
  repositoryId: REPOSITORY,
  entries: [
    // As LZ4 writes it: the sentence once, and then again and again.
    {
      stored: Buffer.from(
        'ff0f313a2074686520717569636b2062726f776e20666f78206a756d70733b201e00ffffffb460686520717569',
        'hex',
      ),
      plain: text,
      codec: 'lz4',
    },
    { stored: noise },
    // As the zstd program writes it: one run of 1,000 times the letter x.
    {
      stored: Buffer.from('28b52ffd00584d00001078780100e32b8005', 'hex'),
      plain: Buffer.alloc(1000, 'x'),
      codec: 'zstd',
    },
  ],
}

t.test('a pack written from the description is read, entry by entry', async t => {
  const { bytes } = packOf(rightPack)
  t.equal(bytes.length, 4096)
  const entries = packEntries(bytes)
  t.match(entries, [
    { type: 'data', codec: 'lz4', offset: 192, plainBytes: 1000 },
    { type: 'data', codec: 'none', storedBytes: 700, plainBytes: 700 },
    { type: 'data', codec: 'zstd', plainBytes: 1000 },
  ])
  const plain = entries.map(entry => Buffer.from(decodeEntry(bytes, entry)))
  t.strictSame(plain, [text, noise, Buffer.alloc(1000, 'x')])
  await matchGolden(t, 'pack', bytes)
})

t.test('a page is an entry of another kind, and a chunk of its bytes is none', async t => {
  const { bytes } = packOf({ repositoryId: REPOSITORY, type: 'page', entries: [{ stored: noise }] })
  const [entry] = packEntries(bytes)
  t.match(entry, { type: 'page' })
  t.not(digestHex(entry?.digest ?? noise), digestHex(hashBytes(noise)))
  t.ok(entry !== undefined && Buffer.from(decodeEntry(bytes, entry)).equals(noise))
  if (entry === undefined) return
  t.throws(() => decodeEntry(bytes, { ...entry, type: 'data' }), { code: 'CHUNK_CORRUPT' })
})

t.test('packs of the native core are read', async t => {
  for (const codec of ['lz4', 'zstd', 'none'] as const) {
    const folder = t.testdir()
    const source = join(folder, 'volume')
    const path = join(folder, 'repository')
    await makeVolume(source, { bytes: 3 * MiB + 512, seed: 9 })
    const repository = await makeRepository(t, path, { codec, chunkBytes: 16 * KiB })
    const { bytes: outcome } = await backedUp({ source, repository, volume: 'vm' })
    const { data, page } = objectsByKind(path)
    const sum = (names: readonly string[]) =>
      names.reduce((total, name) => {
        const pack = readFileSync(join(path, name))
        const plain = packEntries(pack).map(entry => decodeEntry(pack, entry).length)
        return total + plain.reduce((a, b) => a + b, 0)
      }, 0)
    t.equal(sum(data), outcome.stored, codec)
    t.not(sum(page), 0, codec)
  }
})

t.test('what a pack claims is checked before it is used', async t => {
  const huge = 0xffff_ffff
  const big = (value: number) => (at: number) => (bytes: Buffer) =>
    void bytes.writeBigUInt64LE(BigInt(value), at)
  const rows: Readonly<Record<string, Partial<MadePack>>> = {
    'plain bytes': { entries: [{ stored: noise, plainBytes: huge, storedBytes: 700 }] },
    'stored bytes': { entries: [{ stored: noise, plainBytes: huge, storedBytes: huge }] },
    'more stored than plain': { entries: [{ stored: noise, plainBytes: 699 }] },
    'two lengths of plain bytes': { entries: [{ stored: noise, plainBytes: 701 }] },
    'no plain bytes': { entries: [{ stored: noise, plainBytes: 0, storedBytes: 0 }] },
    rows: { trailer: trailer => trailer.writeUInt32LE(huge, 12) },
    'a row less': { trailer: trailer => trailer.writeUInt32LE(2, 12) },
    'table offset': { trailer: big(2 ** 53)(16) },
    'end of frames': { trailer: big(2 ** 53)(24) },
    'an earlier end of frames': { trailer: big(900)(24) },
    version: { header: header => header.writeUInt16LE(2, 8) },
    encryption: { header: header => header.writeUInt8(1, 11) },
    'key block': { header: header => header.writeUInt32LE(huge, 12) },
    magic: { header: header => header.write('MOVRPICK', 'latin1') },
  }
  for (const [claim, change] of Object.entries(rows)) {
    const { bytes } = packOf({ ...rightPack, ...change })
    t.throws(() => packEntries(bytes), CORRUPT, claim)
  }
  for (const length of [0, 1, 64, 191, 4095]) {
    t.throws(() => packEntries(packOf(rightPack).bytes.subarray(0, length)), CORRUPT, `${length}`)
  }
})

t.test('no byte of a head, a row or the trailer can be another', async t => {
  const { bytes } = packOf(rightPack)
  const entries = packEntries(bytes)
  const table = bytes.length - 64 - 3 * 48
  const heads = entries.map(({ offset }) => ({ from: offset - 64, to: offset }))
  const parts = [{ from: 0, to: 128 }, ...heads, { from: table, to: bytes.length }]
  for (const { from, to } of parts) {
    const places = Array.from({ length: to - from }, (_, position) => from + position)
    const believed = places.filter(at => codeOf(() => packEntries(spoilAt(bytes, at))) === null)
    t.strictSame(believed, [])
    t.throws(() => packEntries(spoilAt(bytes, from)), CORRUPT)
  }
})

function spoilAt(bytes: Buffer, at: number): Buffer {
  const spoilt = Buffer.from(bytes)
  spoilt.writeUInt8((spoilt.readUInt8(at) + 1) % 256, at)
  return spoilt
}

/** The code of what is thrown; null when nothing is. */
function codeOf(act: () => unknown): string | null {
  try {
    act()
    return null
  } catch (error) {
    return (error as { code: string }).code
  }
}

t.test('stored bytes that are others are never given out', async t => {
  const { bytes } = packOf(rightPack)
  for (const entry of packEntries(bytes)) {
    const plain = Buffer.from(decodeEntry(bytes, entry))
    const codes = new Set<string | null>()
    for (let at = entry.offset; at < entry.offset + entry.storedBytes; at += 1) {
      const spoilt = spoilAt(bytes, at)
      const code = codeOf(() => decodeEntry(spoilt, entry))
      codes.add(code)
      // There is more than one way to encode the same bytes.
      if (code === null) t.ok(plain.equals(decodeEntry(spoilt, entry)), `byte ${at}`)
    }
    codes.delete(null)
    t.ok([...codes].every(code => code === 'CHUNK_CORRUPT' || code === 'CODEC_FAILED'))
    t.not(codes.size, 0)
  }
})
