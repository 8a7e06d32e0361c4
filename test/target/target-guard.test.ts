import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { FORCE_REASONS, guardTarget, type GuardOptions } from '../../src/target/target-guard.js'
import { deviceFolder, makeLoop } from '../support/target-devices.js'
import { noLoopDevices } from '../support/volumes.js'

const PLAIN: GuardOptions = { force: [], identity: null, repositoryPath: null }
const REFUSED = { code: 'TARGET_REFUSED' }

/** The kernel's tables as a test wants them: paths below /proc and /sys, and what they hold. */
function kernel(t: Test, files: Readonly<Record<string, string>>): GuardOptions {
  // Not t.testdir(), which is emptied when it is asked for again.
  const root = mkdtempSync(join(tmpdir(), 'mover-test-'))
  t.teardown(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, 'proc'))
  mkdirSync(join(root, 'sys'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), text)
  }
  return { ...PLAIN, procPath: join(root, 'proc'), sysPath: join(root, 'sys') }
}

t.test('a file in use is refused, and only what may be lifted is', async t => {
  const volume = realpathSync(join(t.testdir({ 'a volume\n': '' }), 'a volume\n'))
  const octal = volume.replace(/[ \n]/g, letter => `\\0${letter.charCodeAt(0).toString(8)}`)
  const swaps = { 'proc/swaps': `Filename Type Size Used Priority\n${octal} file 4092 0 -2\n` }
  const loop = { 'sys/block/loop7/loop/backing_file': `${volume}\n` }
  const rows = [
    { files: swaps, lifts: null, reason: 'swap' },
    { files: loop, lifts: 'in-use', reason: 'in-use' },
  ] as const
  for (const { files, lifts, reason } of rows) {
    const options = kernel(t, files)
    const all = FORCE_REASONS.filter(force => force !== lifts)
    const refusal = { ...REFUSED, details: { reason } }
    await t.rejects(guardTarget(volume, { ...options, force: all }), refusal)
    if (lifts !== null) {
      t.equal(await guardTarget(volume, { ...options, force: FORCE_REASONS }), 'file')
    }
  }
})

t.test('a file that is there needs a word, one that is not needs none', async t => {
  const folder = t.testdir({ there: '' })
  await t.rejects(guardTarget(join(folder, 'there'), PLAIN), { code: 'TARGET_EXISTS' })
  t.equal(await guardTarget(join(folder, 'there'), { ...PLAIN, force: ['exists'] }), 'file')
  t.equal(await guardTarget(join(folder, 'new'), PLAIN), 'missing')
})

t.test('what is neither a file nor a block device is no target', async t => {
  const folder = t.testdir({ folder: {} })
  symlinkSync('nowhere', join(folder, 'dangling'))
  for (const path of [
    folder,
    '/dev/null',
    '/dev/no-such-device',
    join(folder, 'dangling'),
    join(folder, 'no/such/folder'),
  ]) {
    const guard = guardTarget(path, { ...PLAIN, force: FORCE_REASONS })
    await t.rejects(guard, { code: 'TARGET_UNUSABLE', remedy: /./ }, path)
  }
  t.strictSame(readdirSync(folder).sort(), ['dangling', 'folder'])
})

t.test('nothing in the repository is written over, by whatever name it goes', async t => {
  const folder = t.testdir({ repository: { config: { 1: '' } } })
  symlinkSync('repository', join(folder, 'link'))
  symlinkSync('repository/config/1', join(folder, 'config'))
  symlinkSync('link', join(folder, 'root'))
  const options = { ...PLAIN, repositoryPath: join(folder, 'root'), force: FORCE_REASONS }
  for (const path of ['repository/config/1', 'repository/new', 'link/tmp', 'link/new', 'config']) {
    mkdirSync(join(folder, 'repository/tmp'), { recursive: true })
    const target = path === 'link/tmp' ? 'link/tmp/new' : path
    const guard = guardTarget(join(folder, target), options)
    await t.rejects(guard, { ...REFUSED, details: { reason: 'repository' } }, path)
  }
  t.equal(await guardTarget(join(folder, 'repository-2'), options), 'missing')
})

t.test('who pins an identity means a device', async t => {
  const folder = t.testdir({ there: '' })
  const pinned = { ...PLAIN, identity: 'naa.5000c500a1b2c3d4' }
  for (const name of ['there', 'new']) {
    const guard = guardTarget(join(folder, name), { ...pinned, force: ['exists'] })
    await t.rejects(guard, { ...REFUSED, details: { reason: 'identity' } }, name)
    await t.resolves(guardTarget(join(folder, name), { ...pinned, force: FORCE_REASONS }))
  }
})

t.test(
  'the kernel is asked about the device, its disk and its partitions',
  {
    skip: noLoopDevices,
  },
  async t => {
    const { device } = await makeLoop(t, { folder: deviceFolder(t), bytes: 65_536 })
    const minor = device.replace('/dev/loop', '')
    const own = `7:${minor}`
    const disk = `sys/dev/block/${own}`
    const mounted = (number: string) => `36 35 ${number} / /mnt/x rw - ext4 /dev/x rw\n`
    const rows = [
      { files: { 'proc/self/mountinfo': mounted(own) }, reason: 'mounted' },
      {
        files: {
          'proc/self/mountinfo': mounted('7:9'),
          [`${disk}/p1/dev`]: '7:9\n',
          [`${disk}/p1/partition`]: '1\n',
        },
        reason: 'mounted',
      },
      { files: { [`${disk}/holders/dm-0/dev`]: '253:0\n' }, reason: 'held' },
      { files: { 'proc/swaps': `Filename\n${device} partition 1 0 -2\n` }, reason: 'swap' },
    ]
    for (const { files, reason } of rows) {
      const guard = guardTarget(device, { ...kernel(t, files), force: FORCE_REASONS })
      await t.rejects(guard, { ...REFUSED, details: { reason }, remedy: /no --force/ }, reason)
    }
    const elsewhere = kernel(t, { 'proc/self/mountinfo': mounted(`7:${Number(minor) + 1}`) })
    t.equal(await guardTarget(device, elsewhere), 'block')
  },
)

t.test(
  'a device has the identity that was pinned, or is refused',
  {
    skip: noLoopDevices,
  },
  async t => {
    const { device } = await makeLoop(t, { folder: deviceFolder(t), bytes: 65_536 })
    const disk = `sys/dev/block/7:${device.replace('/dev/loop', '')}`
    for (const file of ['wwid', 'device/wwid', 'serial', 'device/serial', 'dm/uuid']) {
      const options = kernel(t, { [`${disk}/${file}`]: 'naa.5000c500a1b2c3d4  \n' })
      for (const [identity, isIt] of [
        ['naa.5000c500a1b2c3d4', true],
        ['naa.5000c500a1b2c3d', false],
        ['', false],
      ] as const) {
        const guard = () => guardTarget(device, { ...options, identity })
        if (isIt) t.equal(await guard(), 'block')
        else await t.rejects(guard(), { ...REFUSED, details: { reason: 'identity' } })
      }
    }
    const unknown = kernel(t, {})
    await t.rejects(guardTarget(device, { ...unknown, identity: 'x' }), { message: /knows none/ })
    const lifted = { ...unknown, identity: 'x', force: ['identity'] } as const
    t.equal(await guardTarget(device, lifted), 'block')
  },
)

t.test('what cannot be looked at may not be written', { skip: noLoopDevices }, async t => {
  const { device } = await makeLoop(t, { folder: deviceFolder(t), bytes: 65_536 })
  const options = kernel(t, {})
  // A folder in place of the table: reading it is an error, and no "nothing is mounted".
  mkdirSync(join(options.procPath ?? '', 'self/mountinfo'), { recursive: true })
  await t.rejects(guardTarget(device, options), { code: 'TARGET_UNUSABLE' })
})
