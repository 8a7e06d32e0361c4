/**
 * A repository whose disk is full: the backup says so, and is as if it had never begun; when there
 * is room again, the next one works, with no help.
 */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MoverError } from '../../src/core/errors.js'
import { openRepository } from '../../src/repository.js'
import { backedUp, inventory, objectsOf, restored, verified } from '../support/repository.js'
import { runMover, runMoverJson } from '../support/run-mover.js'
import { cmp, contentOf, KiB, makeVolume, MiB, noLoopDevices } from '../support/volumes.js'

const DISK_BYTES = 24 * MiB

const OTHER_BYTES = 640 * KiB

/** From no room at all to enough, in small steps where the last objects are written. */
function roomsKiB(): number[] {
  const rooms = [0, 4, 8, 12, 16, 24, 32, 64, 320]
  for (let room = OTHER_BYTES / KiB; room <= OTHER_BYTES / KiB + 44; room += 4) rooms.push(room)
  return rooms
}

const rows = [
  { name: 'tmpfs', mount: mountTmpfs },
  { name: 'ext4 in a file', mount: mountExt4 },
]

for (const { name, mount } of rows) {
  t.test(`a full disk: ${name}`, { skip: noLoopDevices }, async t => {
    const dir = t.testdir({})
    // Not in the test's own folder, which is removed before what is mounted there is unmounted.
    const disk = mkdtempSync(join(tmpdir(), 'mover-full-disk-'))
    t.teardown(() => {
      rmdirSync(disk)
    })
    mount(dir, disk)
    t.teardown(() => execFileSync('umount', [disk]))
    const path = join(disk, 'repo')
    const [small, large] = [join(dir, 'small'), join(dir, 'large')]
    await makeVolume(small, { bytes: 4 * MiB, seed: 31 })
    writeFileSync(large, contentOf('noise', 32, 40 * MiB))
    t.equal((await runMoverJson(['init', path, '--pack', '1MiB'])).code, 0)
    const back = (source: string) =>
      runMoverJson(['backup', source, '--volume', 'v'], { repository: path })
    t.equal((await back(small)).code, 0)
    const before = inventory(path)

    await t.test('the backup that does not fit', async t => {
      const { code, error, result } = await back(large)
      t.equal(code, 5, 'a repository error')
      t.match(error, { code: 'BACKEND_FULL' })
      t.equal(result, null)
      t.strictSame(inventory(path), before, 'what did not fit takes no room')
      await checkManifests(t, { path, volumes: [small] })
    })

    // There is room for the session and not for a pack, for some packs, for all and not for the
    // segment, for the segment and not for the manifest.
    await t.test('wherever the room ends, nothing is half there', async t => {
      await using repository = await openRepository(path)
      const source = join(dir, 'other')
      const endings: string[] = []
      for (const [seed, roomKiB] of roomsKiB().entries()) {
        fillDisk(join(disk, 'ballast'), { roomBytes: roomKiB * KiB })
        writeFileSync(source, contentOf('noise', 40 + seed, OTHER_BYTES))
        const manifests = objectsOf(path, 'manifests').length
        const ending = await backedUp({ source, repository, volume: 'v' }).then(
          () => 'done',
          (error: unknown) => (error instanceof MoverError ? error.code : String(error)),
        )
        endings.push(ending)
        const added = ending === 'done' ? 1 : 0
        t.equal(objectsOf(path, 'manifests').length, manifests + added, `${roomKiB} KiB: ${ending}`)
        rmSync(join(disk, 'ballast'))
      }
      t.strictSame([...new Set(endings)].sort(), ['BACKEND_FULL', 'done'])
    })

    await t.test('with no room at all, what is there is restored and verified', async t => {
      fillDisk(join(disk, 'ballast'), { roomBytes: 0 })
      const target = join(dir, 'from-full')
      await using repository = await openRepository(path)
      const [first] = await repository.manifests('v')
      await restored({ repository, manifest: first?.id ?? '', target })
      t.equal(await cmp(small, target), '')
      const { code, stderr } = await runMover(['verify', '--repo', path])
      t.equal(code, 0)
      // On ext4 a block is found for the session all the same.
      if (name === 'tmpfs') t.match(stderr, /nobody else can know of this reader/)
      rmSync(join(disk, 'ballast'))
    })

    await t.test('with room again, the next backup works', async t => {
      const again = await back(small)
      t.equal(again.code, 0)
      t.match(again.result, { mode: 'rescan', bytes: { stored: 0 } })
      for (const kind of ['tmp', 'sessions']) t.strictSame(objectsOf(path, kind), [])
      await using repository = await openRepository(path)
      t.strictSame((await verified({ repository, packs: true })).damage, [])
      t.strictSame((await verified({ repository, independent: true })).damage, [])
      const target = join(dir, 'restored')
      await restored({ repository, manifest: 'v@latest', target })
      t.equal(await cmp(small, target), '')
    })
  })
}

async function checkManifests(
  t: Test,
  { path, volumes }: { readonly path: string; readonly volumes: readonly string[] },
): Promise<void> {
  await using repository = await openRepository(path)
  const manifests = await repository.manifests('v')
  t.equal(manifests.length, volumes.length)
  t.strictSame((await verified({ repository })).damage, [])
  for (const [position, volume] of volumes.entries()) {
    const target = join(t.testdir({}), 'restored')
    await restored({ repository, manifest: manifests[position]?.id ?? '', target })
    t.equal(await cmp(volume, target), '')
  }
}

function mountTmpfs(_dir: string, disk: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk])
}

function mountExt4(dir: string, disk: string): void {
  const image = join(dir, 'image')
  writeFileSync(image, '')
  execFileSync('truncate', ['--size', `${DISK_BYTES}`, image])
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', image])
  execFileSync('mount', ['-o', 'loop', image, disk])
}

/** Fills a disk with one file until there is only so much room. */
function fillDisk(path: string, { roomBytes }: { readonly roomBytes: number }): void {
  const file = openSync(path, 'w')
  try {
    for (const bytes of [MiB, 4096]) while (hasWritten(file, bytes));
    ftruncateSync(file, Math.max(0, fstatSync(file).size - roomBytes))
  } finally {
    closeSync(file)
  }
}

function hasWritten(file: number, bytes: number): boolean {
  try {
    return writeSync(file, Buffer.alloc(bytes)) > 0
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false
    throw error
  }
}
