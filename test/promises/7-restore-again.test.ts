/**
 * Promise 7: a restore onto a state is refused when the target is not in it, `auto` trusts nothing, a
 * killed restore is simply given again, and a target that loses writes is found out.
 */
import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { Repository } from '../../src/repository.js'
import { restore } from '../../src/restore.js'
import { bitmapChanges } from '../../src/source/change-source.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { runMoverJson } from '../support/run-mover.js'
import { failedCalls, failing, noStrace } from '../support/system-calls.js'
import { deviceFolder, makeLoop } from '../support/target-devices.js'
import {
  bitmapOfWrites,
  changeVolume,
  cmp,
  contentOf,
  KiB,
  makeVolume,
  MiB,
  noLoopDevices,
  resizeVolume,
  write,
} from '../support/volumes.js'

interface Scene {
  readonly folder: string
  readonly repository: Repository
  /** The volume as it was, and its manifest. */
  readonly before: { readonly manifest: string; readonly file: string }
  readonly after: { readonly manifest: string; readonly file: string }
}

const VOLUME_BYTES = 24 * MiB + 512

/** Two states of a volume, a few writes apart; with `grows`, the second one is longer. */
async function scene(t: Test, { grownTo = VOLUME_BYTES, writeCount = 60 } = {}): Promise<Scene> {
  const folder = deviceFolder(t)
  const volume = join(folder, 'volume')
  const repository = await makeRepository(t, join(folder, 'repository'))
  await makeVolume(volume, { bytes: VOLUME_BYTES, seed: 7 })
  // The short last chunk is zero: grown, it is zero still, and a device holds something else there.
  await write(volume, { offset: 24 * MiB, length: 512 }, { content: 'zero', seed: 0 })
  const first = idOf(await backedUp({ source: volume, repository, volume: 'vm' }))
  const before = join(folder, 'before')
  copyFileSync(volume, before)
  const writes = await changeVolume(volume, { seed: 70, writes: writeCount })
  if (grownTo !== VOLUME_BYTES) await resizeVolume(volume, grownTo)
  const granularityBytes = 64 * KiB
  const bits = bitmapOfWrites(writes, { granularityBytes, volumeBytes: grownTo })
  const changes = bitmapChanges({ bits, granularityBytes })
  const map = grownTo === VOLUME_BYTES ? { changes, parent: first } : {}
  const second = idOf(await backedUp({ source: volume, repository, volume: 'vm', ...map }))
  return {
    folder,
    repository,
    before: { manifest: first, file: before },
    after: { manifest: second, file: volume },
  }
}

/** Targets in the state `from`: a file and, where there are any, a block device. */
async function targetsLike(t: Test, folder: string, from: string): Promise<string[]> {
  const file = join(folder, 'target')
  copyFileSync(from, file)
  if (noLoopDevices !== false) return [file]
  const { device } = await makeLoop(t, { folder, bytes: 32 * MiB, fill: 0xff })
  writeFileSync(device, readFileSync(from))
  return [file, device]
}

t.test('only what differs is written onto a state, in both directions', async t => {
  const { folder, repository, before, after } = await scene(t)
  for (const target of await targetsLike(t, folder, before.file)) {
    for (const [wanted, onto] of [
      [after, before],
      [before, after],
    ] as const) {
      const result = await restored({
        repository,
        manifest: wanted.manifest,
        target,
        onto: onto.manifest,
        force: ['exists'],
        readBack: true,
      })
      t.equal(await cmp(wanted.file, target, { bytes: VOLUME_BYTES }), '', target)
      t.ok(result.bytes.unchanged > VOLUME_BYTES / 2, 'most of it is left alone')
      t.not(result.bytes.compared, 0, 'what both states share was sampled')
    }
  }
})

t.test('a target in another state is refused before anything is written', async t => {
  const { folder, repository, before, after } = await scene(t)
  const rows: readonly {
    readonly is: string
    readonly spoil: (target: string) => Promise<unknown>
  }[] = [
    {
      is: 'of another volume',
      spoil: async target => writeFileSync(target, contentOf('noise', 1, VOLUME_BYTES)),
    },
    {
      is: 'all zero',
      spoil: async target => writeFileSync(target, Buffer.alloc(VOLUME_BYTES)),
    },
    {
      is: 'the state, but for every fourth chunk',
      async spoil(target) {
        for (let offset = 0; offset < VOLUME_BYTES - MiB; offset += 256 * KiB) {
          await write(target, { offset, length: 512 }, { content: 'noise', seed: offset })
        }
      },
    },
  ]
  const sizes = [
    { is: 'shorter', spoil: (target: string) => resizeVolume(target, VOLUME_BYTES - 512) },
    { is: 'longer', spoil: (target: string) => resizeVolume(target, VOLUME_BYTES + 512) },
  ]
  for (const [index, target] of (await targetsLike(t, folder, before.file)).entries()) {
    for (const { is, spoil } of index === 0 ? [...rows, ...sizes] : rows) {
      writeFileSync(target, readFileSync(before.file))
      await spoil(target)
      const held = readFileSync(target)
      const restoring = restored({
        repository,
        manifest: after.manifest,
        target,
        onto: before.manifest,
        force: ['exists'],
      })
      await t.rejects(restoring, { code: 'TARGET_STATE', remedy: /--onto auto/ }, is)
      t.ok(readFileSync(target).equals(held), `${is}: it holds what it held`)
    }
  }
})

t.test('onto auto heals a target in whatever state', async t => {
  const { folder, repository, before, after } = await scene(t)
  const [file = '', device] = await targetsLike(t, folder, before.file)
  const states = [
    { is: 'right but for one byte', bytes: VOLUME_BYTES, written: 64 * KiB },
    { is: 'noise', bytes: VOLUME_BYTES },
    { is: 'empty', bytes: 0 },
    { is: 'cut in a chunk', bytes: 10 * MiB + 777 },
    { is: 'longer', bytes: VOLUME_BYTES + 12_345 },
  ]
  for (const target of device === undefined ? [file] : [file, device]) {
    for (const { is, bytes, written } of states) {
      const content =
        written === undefined ? contentOf('noise', bytes, bytes) : readFileSync(after.file)
      if (written !== undefined) content.writeUInt8((content[5 * MiB] ?? 0) === 7 ? 8 : 7, 5 * MiB)
      writeFileSync(target, content)
      const { bytes: done } = await restored({
        repository,
        manifest: after.manifest,
        target,
        onto: 'auto',
        force: ['exists'],
        readBack: true,
      })
      const limit = target === file ? {} : { bytes: VOLUME_BYTES }
      t.equal(await cmp(after.file, target, limit), '', `${is}: ${target}`)
      if (written !== undefined) t.ok(done.written + done.zero <= written, 'and writes no more')
    }
  }
})

t.test('a grown volume is restored onto its smaller state, zeroes and all', async t => {
  // Not whole chunks: the last chunk of one state is a longer one of the other.
  for (const grownTo of [VOLUME_BYTES + 4096, 30 * MiB]) {
    const { folder, repository, before, after } = await scene(t, { grownTo })
    for (const target of await targetsLike(t, folder, before.file)) {
      for (const [wanted, onto] of [
        [after, before],
        [before, after],
        [after, before],
      ] as const) {
        await restored({
          repository,
          manifest: wanted.manifest,
          target,
          onto: onto.manifest,
          force: ['exists'],
          readBack: true,
        })
        const bytes = wanted === after ? grownTo : VOLUME_BYTES
        const limit = target.startsWith('/dev') ? { bytes } : {}
        t.equal(await cmp(wanted.file, target, limit), '', `${target}, ${bytes} bytes`)
      }
    }
  }
})

/** Killed when it has begun to write, however long it took to begin. */
const WRITING = { killFrom: /"stage":"write"/, killAfterMs: 20 }

t.test('a restore that was killed is given again, and is right', async t => {
  const { folder, repository, before, after } = await scene(t, { writeCount: 150 })
  const targets = await targetsLike(t, folder, before.file)
  const made = join(folder, 'made')
  const rows = [
    { target: made, args: [] },
    ...targets.flatMap(target => [
      { target, args: ['--force=exists'] },
      { target, args: ['--force=exists', '--onto', before.manifest] },
      { target, args: ['--force=exists', '--onto=auto'] },
    ]),
  ]
  for (const { target, args } of rows) {
    if (target !== made) writeFileSync(target, readFileSync(before.file))
    const command = ['restore', after.manifest, target, ...args]
    // In small reads and so slowly that it is in the middle of writing what differs for some hundred milliseconds.
    const slowly = [...command, '--rate', '4MiB', '--in-flight', '16MiB']
    const options = { repository: repository.path }
    const { signal } = await runMoverJson(slowly, { ...options, ...WRITING })
    const limit = target.startsWith('/dev') ? { bytes: VOLUME_BYTES } : {}
    t.equal(signal, 'SIGKILL', `${args.join(' ')}: it was killed`)
    t.not(await cmp(after.file, target, limit), '', `${args.join(' ')}: in the middle`)
    const { code } = await runMoverJson([...command, '--read-back'], options)
    t.equal(code, 0, `${args.join(' ')}: the same again`)
    t.equal(await cmp(after.file, target, limit), '', `${args.join(' ')}: is right`)
  }
})

t.test('a file that is not whole has no name, though the restore is killed', async t => {
  const { folder, repository, after } = await scene(t)
  const target = join(folder, 'made')
  const { signal } = await runMoverJson(['restore', after.manifest, target, '--rate', '8MiB'], {
    repository: repository.path,
    ...WRITING,
  })
  t.equal(signal, 'SIGKILL')
  const made = readdirSync(folder).filter(name => name.includes('made'))
  t.match(made, [/^\.made\..*\.mover$/], 'what is left of it is hidden')
})

t.test('a target that changes behind our back is found out by the read-back', async t => {
  const { folder, repository, after } = await scene(t)
  const targets = await targetsLike(t, folder, after.file)
  for (const target of targets) {
    await using job = restore({
      repository,
      manifest: after.manifest,
      target,
      force: ['exists'],
      readBack: true,
    })
    for await (const event of job.events) {
      if (event.type !== 'stage' || event.stage !== 'flush') continue
      const file = openSync(target, 'r+')
      writeSync(file, 'scribble', 9 * MiB)
      closeSync(file)
    }
    await t.rejects(job.result, { code: 'READBACK_MISMATCH', offset: 9 * MiB }, target)
  }
})

t.test('a target that loses writes is found out by the read-back', { skip: noStrace }, async t => {
  const folder = t.testdir()
  const volume = join(folder, 'volume')
  const target = join(folder, 'target')
  const log = join(folder, 'calls')
  const repository = await makeRepository(t, join(folder, 'repository'))
  // One chunk: it is written by one call, of which it is known what it answers.
  writeFileSync(volume, contentOf('noise', 1, 64 * KiB))
  const manifest = idOf(await backedUp({ source: volume, repository, volume: 'vm' }))
  writeFileSync(target, '')
  for (const [args, code] of [
    [[], 0],
    [['--read-back'], 7],
  ] as const) {
    const command = ['restore', manifest, target, '--force=exists', ...args]
    const under = failing({ call: 'pwrite64', answer: `retval=${64 * KiB}`, path: target, log })
    const finished = await runMoverJson(command, { repository: repository.path, under })
    t.equal(failedCalls(log).length, 1, 'the write was lost, and called done')
    t.equal(finished.code, code, `restore ${args.join(' ')}`)
    if (code === 7) t.match(finished.error, { code: 'READBACK_MISMATCH', offset: 0, remedy: /./ })
  }
})
