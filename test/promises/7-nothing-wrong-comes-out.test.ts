/**
 * Promise 7: nothing wrong comes out. Every kind of object is damaged in every part of it, and each time
 * a restore gives the right bytes or none, and verify names what is damaged and what it hits.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { cat } from '../../src/cat.js'
import { errorKind, MoverError } from '../../src/core/errors.js'
import type { Damage } from '../../src/core/progress.js'
import { openRepository, type Repository } from '../../src/repository.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { packEntries } from '../../src/store/pack-file.js'
import {
  copyRepository,
  flipByte,
  idOfObject,
  objectsByKind,
  packParts,
  segmentParts,
} from '../support/damage.js'
import { randomInteger, seededRandom } from '../support/random.js'
import { backedUp, idOf, makeRepository, restored, verified } from '../support/repository.js'
import {
  bitmapOfWrites,
  changeVolume,
  contentOf,
  KiB,
  makeVolume,
  MiB,
  write,
} from '../support/volumes.js'

interface State {
  readonly manifest: string
  readonly bytes: Buffer
}

interface Scene {
  readonly folder: string
  readonly path: string
  readonly states: readonly State[]
}

/** Two states of a volume in a repository of small packs: two packs of pages, two segments, two manifests. */
async function scene(t: Test): Promise<Scene> {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const volume = join(folder, 'volume')
  const volumeBytes = 4 * MiB + 512
  const repository = await makeRepository(t, path, { chunkBytes: 16 * KiB, packBytes: MiB })
  await makeVolume(volume, { bytes: volumeBytes, seed: 7 })
  const first = idOf(await backedUp({ source: volume, repository, volume: 'vm' }))
  const before = readFileSync(volume)
  const writes = await changeVolume(volume, { seed: 71, writes: 20 })
  const bits = bitmapOfWrites(writes, { granularityBytes: 64 * KiB, volumeBytes })
  const changes = bitmapChanges({ bits, granularityBytes: 64 * KiB })
  const second = await backedUp({
    source: volume,
    repository,
    volume: 'vm',
    changes,
    parent: first,
  })
  const states = [
    { manifest: first, bytes: before },
    { manifest: idOf(second), bytes: readFileSync(volume) },
  ]
  return { folder, path, states }
}

/** What a repository gives after something was done to it. */
interface Outcome {
  /** Codes of what the restores threw; null of a right one. */
  readonly restores: readonly (string | null)[]
  /** What each way to verify finds. */
  readonly damage: Readonly<Record<Way, readonly Damage[]>>
}

const WAYS = { decoded: {}, packs: { packs: true }, independent: { independent: true } } as const
type Way = keyof typeof WAYS

/** Restores and reads every state, and throws if anything wrong comes out; then verifies in every way. */
async function outcomeOf(t: Test, scene: Scene, path: string): Promise<Outcome> {
  const repository = await openRepository(path)
  const restores: (string | null)[] = []
  for (const { manifest, bytes } of scene.states) {
    const code = await restoreCode(scene, repository, { manifest, bytes })
    restores.push(code)
    const printed = await catCode(scene, repository, { manifest, bytes })
    t.equal(printed === null, code === null, 'cat and restore agree on whether it can be had')
  }
  const damageOf = async (way: Way) => (await verified({ repository, ...WAYS[way] })).damage
  const damage = {
    decoded: await damageOf('decoded'),
    packs: await damageOf('packs'),
    independent: await damageOf('independent'),
  }
  await repository[Symbol.asyncDispose]()
  return { restores, damage }
}

/** Null when the restore gave the right bytes; the error's code when it gave none. Anything else throws. */
async function restoreCode(
  { folder }: Scene,
  repository: Repository,
  { manifest, bytes }: State,
): Promise<string | null> {
  const target = join(folder, 'target')
  rmSync(target, { force: true })
  try {
    await restored({ repository, manifest, target })
  } catch (error) {
    if (existsSync(target)) throw new Error('a restore that failed left a file', { cause: error })
    return integrityCode(error)
  }
  if (!readFileSync(target).equals(bytes)) throw new Error('a restore gave wrong bytes')
  return null
}

async function catCode(
  { folder }: Scene,
  repository: Repository,
  { manifest, bytes }: State,
): Promise<string | null> {
  const path = join(folder, 'cat')
  const output = openSync(path, 'w')
  let code: string | null = null
  try {
    await using job = cat({ repository, manifest, output })
    await job.result
  } catch (error) {
    code = integrityCode(error)
  } finally {
    closeSync(output)
  }
  const printed = readFileSync(path)
  const isWhole = code !== null || printed.length === bytes.length
  if (!isWhole || !printed.equals(bytes.subarray(0, printed.length))) {
    throw new Error('cat gave wrong bytes')
  }
  return code
}

function integrityCode(error: unknown): string {
  const isKnown = error instanceof MoverError && errorKind(error.code) === 'integrity'
  if (!isKnown) throw error
  return error.code
}

/** `pack 1234…` of each damage. */
function named(damage: readonly Damage[]): string[] {
  return damage.map(({ kind, name }) => `${kind} ${name}`)
}

t.test('a byte is flipped in every part of a pack of chunks, and of one of pages', async t => {
  const all = await scene(t)
  for (const kind of ['data', 'page'] as const) {
    const [name = ''] = objectsByKind(all.path)[kind]
    const whole = `pack ${idOfObject(name)}`
    for (const [part, offset] of Object.entries(packParts(readFileSync(join(all.path, name))))) {
      const what = `${part} of a ${kind} pack`
      const path = copyRepository(all.path, join(all.folder, 'spoilt'))
      flipByte(join(path, name), offset)
      const { restores, damage } = await outcomeOf(t, all, path)
      t.strictSame(named(damage.packs), [whole], what)
      t.ok(named(damage.independent).includes(whole), what)
      if (part !== 'stored bytes') {
        // What describes the chunks a second time is for whoever has lost the index.
        t.strictSame([restores, damage.decoded], [[null, null], []], `${what}: nothing is lost`)
      } else {
        t.ok(
          restores.some(code => code !== null),
          `${what}: not restored as good`,
        )
        t.match(kindsOf(damage.decoded), [kind === 'data' ? 'pack' : 'page'], what)
        if (kind === 'data') t.strictSame(named(damage.decoded), [whole], what)
        await checkExtents(t, { all, path, damage: damage.decoded }, what)
        await checkExtents(t, { all, path, damage: damage.independent }, what)
      }
      rmSync(path, { recursive: true })
    }
  }
})

function kindsOf(damage: readonly Damage[]): string[] {
  return [...new Set(damage.map(({ kind }) => kind))].sort()
}

/** What the damage says is lost is lost, and all the rest can be had. */
async function checkExtents(
  t: Test,
  { all, path, damage }: { all: Scene; path: string; damage: readonly Damage[] },
  what: string,
): Promise<void> {
  const repository = await openRepository(path)
  const lost = damage.flatMap(({ extents }) => extents)
  t.not(lost.length, 0, `${what}: extents are named`)
  const output = openSync(join(all.folder, 'part'), 'w')
  const isReadable = async (manifest: string, offset: number, length: number) => {
    await using job = cat({ repository, manifest, output, range: { offset, length } })
    return await job.result.then(
      () => true,
      () => false,
    )
  }
  for (const { manifest, bytes } of all.states) {
    let position = 0
    const own = lost.filter(extent => extent.manifest === manifest)
    for (const { offset, length } of own.sort((a, b) => a.offset - b.offset)) {
      if (offset > position)
        t.ok(await isReadable(manifest, position, offset - position), `${what}: before`)
      for (let slot = offset; slot < offset + length; slot += 16 * KiB) {
        const part = Math.min(16 * KiB, bytes.length - slot)
        // A page's slots may be lost or be chunks that another page names too: they are never wrong.
        if (damage.every(({ kind }) => kind !== 'page')) {
          t.notOk(await isReadable(manifest, slot, part), `${what}: lost`)
        }
      }
      position = Math.max(position, offset + length)
    }
    const left = bytes.length - position
    if (left > 0) t.ok(await isReadable(manifest, position, left), `${what}: after`)
  }
  closeSync(output)
  await repository[Symbol.asyncDispose]()
}

t.test('a byte is flipped in every part of an index segment', async t => {
  const all = await scene(t)
  const [name = ''] = objectsByKind(all.path).segment
  const bytes = readFileSync(join(all.path, name))
  for (const [part, offset] of Object.entries({ ...segmentParts(bytes), end: bytes.length - 1 })) {
    const path = copyRepository(all.path, join(all.folder, 'spoilt'))
    flipByte(join(path, name), offset)
    const { damage } = await outcomeOf(t, all, path)
    for (const way of ['decoded', 'packs', 'independent'] as const) {
      t.ok(named(damage[way]).includes(`segment ${idOfObject(name)}`), `${part}, ${way}`)
    }
    rmSync(path, { recursive: true })
  }
})

t.test('a byte is flipped in every part of a manifest, and of the config', async t => {
  const all = await scene(t)
  for (const kind of ['manifest', 'config'] as const) {
    const [name = ''] = objectsByKind(all.path)[kind]
    const { length } = readFileSync(join(all.path, name))
    const parts = {
      magic: 0,
      version: 9,
      length: 12,
      zero: 20,
      body: 40,
      digest: length - 20,
      end: length - 1,
    }
    for (const [part, offset] of Object.entries(parts)) {
      const path = copyRepository(all.path, join(all.folder, 'spoilt'))
      flipByte(join(path, name), offset)
      if (kind === 'config') {
        await t.rejects(openRepository(path), { code: 'CONFIG_CORRUPT', remedy: /./ }, part)
      } else {
        const repository = await openRepository(path)
        const { damage } = await verified({ repository })
        t.strictSame(named(damage), [`manifest ${name}`], part)
        const target = join(all.folder, 'target')
        const newest = restored({ repository, manifest: 'vm@latest', target })
        await t.rejects(newest, { code: 'MANIFEST_CORRUPT' }, `${part}: which is the latest?`)
        t.notOk(existsSync(target))
        await repository[Symbol.asyncDispose]()
      }
      rmSync(path, { recursive: true })
    }
  }
})

t.test('a page that two manifests share is lost in both', async t => {
  const folder = t.testdir()
  const path = join(folder, 'repository')
  const source = join(folder, 'volume')
  // Four pages of slots, of which the second backup writes the last one again.
  writeFileSync(source, contentOf('noise', 1, 8 * MiB))
  const repository = await makeRepository(t, path, { chunkBytes: 16 * KiB })
  await backedUp({ source, repository, volume: 'vm' })
  const [name = ''] = objectsByKind(path).page
  await write(source, { offset: 7 * MiB, length: 512 }, { content: 'noise', seed: 2 })
  await backedUp({ source, repository, volume: 'vm' })
  const pack = readFileSync(join(path, name))
  const leaves = packEntries(pack).filter(({ offset }) => pack[offset] === 0)
  const hits: number[] = []
  for (const { offset } of leaves) {
    flipByte(join(path, name), offset + 100)
    for (const way of [{}, { independent: true }]) {
      const { damage } = await verified({ repository, ...way })
      const pages = damage.filter(({ kind }) => kind === 'page')
      hits.push(pages.reduce((sum, { manifests }) => sum + manifests.length, 0))
    }
    writeFileSync(join(path, name), pack)
  }
  t.strictSame(hits.sort(), [1, 1, 2, 2, 2, 2, 2, 2])
})

const FLIPS = 50
const SEED = 0x7a11

t.test(`any byte of any object may be flipped: ${FLIPS} of them, seed ${SEED}`, async t => {
  const all = await scene(t)
  const random = seededRandom(SEED)
  const { data, page, segment, manifest } = objectsByKind(all.path)
  const names = [...data, ...page, ...segment, ...manifest]
  for (let flip = 0; flip < FLIPS; flip += 1) {
    const name = names[randomInteger(random, { from: 0, to: names.length - 1 })] ?? ''
    const before = readFileSync(join(all.path, name))
    const offset = randomInteger(random, { from: 0, to: before.length - 1 })
    flipByte(join(all.path, name), offset)
    const states = manifest.includes(name) ? [] : all.states
    const { damage } = await outcomeOf(t, { ...all, states }, all.path)
    const isNamed = damage.packs.some(({ name: found }) => name.endsWith(found))
    t.ok(isNamed, `flip ${flip}, at ${offset} of ${name}: verify --packs names it`)
    writeFileSync(join(all.path, name), before)
  }
  const { restores, damage } = await outcomeOf(t, all, all.path)
  t.strictSame([restores, damage], [[null, null], { decoded: [], packs: [], independent: [] }])
})

interface Spoilt {
  readonly how: string
  readonly kind: 'data' | 'page' | 'segment' | 'manifest'
  /** Kinds of damage that each way to verify lists; `*` where the object itself is named. */
  readonly decoded: string
  readonly packs: string
  readonly independent: string
}

// What nothing names cannot be missed, and a pack need only hold what is asked of it.
const SPOILT: readonly Spoilt[] = [
  { how: 'gone', kind: 'data', decoded: 'pack*', packs: 'pack*', independent: 'chunk' },
  { how: 'gone', kind: 'page', decoded: 'page', packs: 'pack*', independent: 'page' },
  { how: 'gone', kind: 'segment', decoded: 'chunk page', packs: '', independent: '' },
  { how: 'gone', kind: 'manifest', decoded: '', packs: '', independent: '' },
  { how: 'cut', kind: 'data', decoded: 'pack*', packs: 'pack*', independent: 'chunk pack*' },
  { how: 'cut', kind: 'page', decoded: 'page', packs: 'pack*', independent: 'pack* page' },
  ...(['cut', 'empty', 'longer'] as const).flatMap(how => [
    {
      how,
      kind: 'segment' as const,
      decoded: 'chunk page segment*',
      packs: 'segment*',
      independent: 'segment*',
    },
    {
      how,
      kind: 'manifest' as const,
      decoded: 'manifest*',
      packs: 'manifest*',
      independent: 'manifest*',
    },
  ]),
  { how: 'empty', kind: 'data', decoded: 'pack*', packs: 'pack*', independent: 'chunk pack*' },
  { how: 'empty', kind: 'page', decoded: 'page', packs: 'pack*', independent: 'pack* page' },
  { how: 'longer', kind: 'data', decoded: '', packs: 'pack*', independent: 'chunk pack*' },
  { how: 'longer', kind: 'page', decoded: '', packs: 'pack*', independent: 'pack* page' },
]

t.test('objects are gone, cut, empty, or longer than they were', async t => {
  const all = await scene(t)
  const byKind = objectsByKind(all.path)
  const length = (path: string) => readFileSync(path).length
  const act: Readonly<Record<string, (path: string) => void>> = {
    gone: path => rmSync(path),
    cut: path => truncateSync(path, Math.floor(length(path) / 2)),
    empty: path => truncateSync(path, 0),
    longer: path => truncateSync(path, length(path) + 4096),
  }
  for (const { how, kind, ...expected } of SPOILT) {
    const [name = ''] = byKind[kind]
    const path = copyRepository(all.path, join(all.folder, 'spoilt'))
    act[how]?.(join(path, name))
    const states = kind === 'manifest' ? [] : all.states
    const { damage, restores } = await outcomeOf(t, { ...all, states }, path)
    for (const way of ['decoded', 'packs', 'independent'] as const) {
      t.equal(summaryOf(damage[way], name), expected[way], `${kind} ${how}, ${way}`)
    }
    if (expected.decoded === 'pack*') {
      await checkExtents(t, { all, path, damage: damage.decoded }, `${kind} ${how}`)
    }
    const isLost = states.length > 0 && damage.decoded.length > 0
    t.equal(
      restores.some(code => code !== null),
      isLost,
      `${kind} ${how}: restored or listed`,
    )
    rmSync(path, { recursive: true })
  }
})

/** The kinds of damage, sorted; a star is behind the one that names the object itself. */
function summaryOf(damage: readonly Damage[], object: string): string {
  const named = damage.find(({ name }) => object.endsWith(name))
  return kindsOf(damage)
    .map(kind => (kind === named?.kind ? `${kind}*` : kind))
    .join(' ')
}
