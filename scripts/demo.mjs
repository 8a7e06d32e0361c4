/**
 * The main job on real input: a volume made from files of this machine is backed up in full, changed,
 * backed up by its dirty bitmap, and both states are restored and compared with the originals.
 */
import { existsSync, mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { WriteRecord, changeVolume } from './demo-changes.mjs'
import { makeVolume, requireProgram } from './demo-volume.mjs'
import { run, ScriptError } from './run.mjs'
import { ROOT } from './setup.mjs'

/**
 * @typedef {typeof import('../dist/index.js')} Mover
 * @typedef {import('../dist/index.js').Repository} Repository
 * @typedef {import('../dist/index.js').BackupResult} BackupResult
 * @typedef {import('../dist/index.js').RestoreResult} RestoreResult
 */

const BYTES_NEEDED = 4.5 * 2 ** 30
const GRANULARITY_BYTES = 64 * 1024
const CHECKPOINT = 'monday'
const VOLUME = 'demo'

/**
 * Where everything lies.
 *
 * @param {string} folder
 */
function pathsIn(folder) {
  return {
    folder,
    mark: join(folder, '.made-by-mover-demo'),
    staging: join(folder, 'staging'),
    scratch: join(folder, 'scratch'),
    volume: join(folder, 'volume.img'),
    before: join(folder, 'volume-before.img'),
    restored: join(folder, 'restored.img'),
    repository: join(folder, 'repository'),
    bitmap: join(folder, 'changes.bitmap'),
  }
}

/** @typedef {ReturnType<typeof pathsIn>} Paths */

/**
 * Does it all, and throws a ScriptError when a single byte is not what it was.
 *
 * @param {string} [folder] made anew
 */
export async function demonstrate(folder = join(ROOT, 'mover-demo')) {
  const begun = performance.now()
  const mover = await import('../dist/index.js')
  const paths = pathsIn(folder)
  console.log(`mover at work, in ${folder}`)
  makeFolder(paths)

  const volume = await step('make a volume from files of this machine (mke2fs -d)', () =>
    makeVolume(paths.volume, paths.staging),
  )
  await mover.initRepository(paths.repository)
  const repository = await mover.openRepository(paths.repository)
  try {
    const { full, record, incremental } = await backUpTwice(mover, repository, { paths, volume })
    const { first, second } = await restoreTwice(mover, repository, { paths, full, incremental })
    const { formatBytes, formatRate } = await import('../dist/core/units.js')
    console.log(reportTable([full, incremental], [first, second], { formatBytes, formatRate }))
    console.log(`\nchanged: ${formatBytes(record.dirtyBytes)} by the bitmap, which the writes set`)
  } finally {
    await repository[Symbol.asyncDispose]()
  }
  console.log('both states came back: cmp finds no difference, e2fsck no fault')
  console.log(`all of it took ${seconds(begun)} s\n\n${nextCommands(paths)}`)
}

/**
 * A full backup, a day's changes, and a backup of what the bitmap of those changes names.
 *
 * @param {Mover} mover
 * @param {Repository} repository
 * @param {{ paths: Paths, volume: import('./demo-volume.mjs').Volume }} input
 */
async function backUpTwice(mover, repository, { paths, volume }) {
  const source = { source: paths.volume, repository, volume: VOLUME }
  const full = await step(
    'back it up in full',
    () => mover.backup({ ...source, checkpoint: CHECKPOINT }).result,
  )

  await step('keep a copy to compare with (cp)', () =>
    run('cp', ['--sparse=always', paths.volume, paths.before]),
  )
  const granularityBytes = GRANULARITY_BYTES
  const record = new WriteRecord(volume.bytes, granularityBytes)
  await step('change it: files added, files deleted, blocks rewritten', () =>
    changeVolume(volume, record, paths.scratch),
  )
  await writeFile(paths.bitmap, record.bits)

  const changes = mover.bitmapChanges({ bits: record.bits, granularityBytes, since: CHECKPOINT })
  const incremental = await step(
    'back up what the dirty bitmap names',
    () => mover.backup({ ...source, changes }).result,
  )
  if (incremental.mode !== 'incremental') {
    throw new ScriptError(`the second backup was a ${incremental.mode} one: ${incremental.reason}`)
  }
  return { full, record, incremental }
}

/**
 * The first state is restored in full and the second onto it; each is compared with its original.
 *
 * @param {Mover} mover
 * @param {Repository} repository
 * @param {{ paths: Paths, full: BackupResult, incremental: BackupResult }} input
 */
async function restoreTwice(mover, repository, { paths, full, incremental }) {
  const target = { repository, target: paths.restored }
  const first = await step(
    'restore the first state, in full',
    () => mover.restore({ ...target, manifest: manifestOf(full) }).result,
  )
  await compare(paths.restored, paths.before)

  const onto = manifestOf(full)
  const manifest = manifestOf(incremental)
  const second = await step(
    'restore the second state, onto the first',
    () => mover.restore({ ...target, manifest, onto, force: ['exists'] }).result,
  )
  await compare(paths.restored, paths.volume)
  return { first, second }
}

/**
 * Makes the folder anew; one that this script did not make is never touched.
 *
 * @param {Paths} paths
 */
function makeFolder({ folder, mark }) {
  if (existsSync(folder)) {
    if (!existsSync(mark)) {
      throw new ScriptError(`${folder} was not made by this demonstration: move it out of the way`)
    }
    rmSync(folder, { recursive: true })
  }
  const { bavail, bsize } = statfsSync(dirname(folder))
  if (bavail * bsize < BYTES_NEEDED) {
    const gib = (BYTES_NEEDED / 2 ** 30).toFixed(1)
    throw new ScriptError(`the demonstration needs ${gib} GiB of free space in ${dirname(folder)}`)
  }
  mkdirSync(folder)
  writeFileSync(mark, 'The next `npm start` removes this folder and makes it anew.\n')
}

/**
 * @template T
 * @param {string} what
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function step(what, work) {
  const begun = performance.now()
  const result = await work()
  console.log(`  ${what.padEnd(56)} ${seconds(begun).padStart(5)} s`)
  return result
}

/** @param {number} begun */
function seconds(begun) {
  return ((performance.now() - begun) / 1000).toFixed(1)
}

/** @param {{ manifest: string | null }} result */
function manifestOf({ manifest }) {
  if (manifest === null) throw new ScriptError('the backup made no manifest')
  return manifest
}

/**
 * Throws unless the restored volume has every byte of the original and a file system without fault.
 *
 * @param {string} restored
 * @param {string} original
 */
async function compare(restored, original) {
  await step(`  compare with ${basename(original)} (cmp, e2fsck -fn)`, async () => {
    await run('cmp', [original, restored])
    await run(requireProgram('e2fsck'), ['-fn', restored])
  })
}

/**
 * @param {readonly BackupResult[]} backups
 * @param {readonly RestoreResult[]} restores
 * @param {{ formatBytes: (bytes: number) => string, formatRate: (rate: number) => string }} units
 */
function reportTable(backups, restores, { formatBytes, formatRate }) {
  const head = ['', 'read', 'carried', 'zero', 'deduplicated', 'stored', 'written', 'time', 'rate']
  const backupRows = backups.map(({ mode, bytes, seconds }) => [
    `backup, ${mode}`,
    ...[bytes.read, bytes.carried, bytes.zero, bytes.deduplicated, bytes.stored].map(formatBytes),
    formatBytes(bytes.written),
    `${seconds.toFixed(2)} s`,
    formatRate(bytes.volume / seconds),
  ])
  const restoreRows = restores.map(({ onto, bytes, seconds }) => [
    `restore, ${onto === null ? 'in full' : 'onto'}`,
    ...[bytes.read, bytes.unchanged, bytes.zero].map(formatBytes),
    '',
    '',
    formatBytes(bytes.written),
    `${seconds.toFixed(2)} s`,
    formatRate(bytes.volume / seconds),
  ])
  return [
    table([head, ...backupRows, ...restoreRows]),
    'rate: bytes of the volume by time. Of a restore, read is what came from packs, and carried what the',
    'target held already. What is zero may have been read to find that out.',
  ].join('\n')
}

/** @param {string[][]} rows */
function table(rows) {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map(row => row[at]?.length ?? 0))) ?? []
  const lines = rows.map(row =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  '),
  )
  return `\n${lines.join('\n')}`
}

/** @param {Paths} paths */
function nextCommands({ volume, repository: place, bitmap, folder }) {
  const here = /** @param {string} path */ path => relative(ROOT, path)
  const repository = `--repo ${here(place)}`
  const changes = `bitmap:${here(bitmap)},granularity=${GRANULARITY_BYTES / 1024}KiB,since=${CHECKPOINT}`
  const commands = [
    `list ${repository}`,
    `show ${VOLUME}@latest --map ${repository}`,
    `diff ${VOLUME}@latest~1 ${VOLUME}@latest ${repository}`,
    `verify --independent ${repository}`,
    `restore ${VOLUME}@latest~1 ${here(join(folder, 'again.img'))} ${repository}`,
    `backup ${here(volume)} --volume ${VOLUME} --changes ${changes} --dry-run ${repository}`,
  ]
  const size = (statSync(volume).size / 2 ** 30).toFixed(2)
  return [
    `It is all still there: the volume (${size} GiB), its backups, its bitmap. Try next:`,
    ...commands.map(command => `  npm start -- ${command}`),
  ].join('\n')
}
