import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openTarget } from '../../src/target/open-target.js'
import { qemuNbd } from '../support/nbd-servers.js'
import { deviceFolder, makeLoop } from '../support/target-devices.js'
import { noLoopDevices } from '../support/volumes.js'

const PLAIN = { force: [], identity: null, repositoryPath: null, keeps: false, volumeBytes: 4096 }

t.test(
  'what stands at the path decides the kind of target, and opening changes nothing',
  async t => {
    const folder = t.testdir({ there: 'content' })
    {
      await using made = await openTarget(join(folder, 'new'), PLAIN)
      t.match(made, { kind: 'file', bytes: 0, readsAsZero: true })
    }
    for (const keeps of [true, false]) {
      await using there = await openTarget(join(folder, 'there'), {
        ...PLAIN,
        keeps,
        force: ['exists'],
      })
      t.match(there, { kind: 'file', bytes: 7, readsAsZero: !keeps })
    }
    t.equal(readFileSync(join(folder, 'there'), 'utf8'), 'content')
  },
)

t.test('a device is opened as one', { skip: noLoopDevices }, async t => {
  const { device } = await makeLoop(t, { folder: deviceFolder(t), bytes: 4096 })
  await using target = await openTarget(device, PLAIN)
  t.match(target, { kind: 'block', bytes: 4096, readsAsZero: false, name: device })
})

t.test('what is not there holds no state to build on', async t => {
  const open = openTarget(join(t.testdir(), 'new'), { ...PLAIN, keeps: true })
  await t.rejects(open, { code: 'TARGET_STATE', remedy: /without --onto/ })
})

t.test(
  'a file that a machine has open is refused, and none opens it while it is written',
  async t => {
    const path = join(t.testdir({ disk: 'x'.repeat(65_536) }), 'disk')
    const { child } = await qemuNbd(t, path)
    const open = openTarget(path, { ...PLAIN, force: ['exists'] })
    await t.rejects(open, {
      code: 'TARGET_REFUSED',
      details: { reason: 'in-use' },
      remedy: /=in-use/,
    })
    t.equal(readFileSync(path, 'utf8'), 'x'.repeat(65_536))
    {
      await using lifted = await openTarget(path, { ...PLAIN, force: ['exists', 'in-use'] })
      t.match(lifted, { kind: 'file', bytes: 65_536 })
    }
    child.kill()
    await once(child, 'exit')
    await using free = await openTarget(path, { ...PLAIN, force: ['exists'] })
    t.match(free, { kind: 'file', bytes: 65_536 })
    const write = ['-f', 'raw', '-c', 'write -P 0 0 512', path]
    t.match(spawnSync('qemu-io', write, { encoding: 'utf8' }).stderr, /lock/)
  },
)
