import { readFileSync } from 'node:fs'
import t from 'tap'
import { loadAddon } from '../../src/native/addon.js'
import { openDeviceTarget } from '../../src/target/device-target.js'
import { claim, deviceFolder, makeLoop } from '../support/target-devices.js'
import { noLoopDevices } from '../support/volumes.js'

t.test(
  'a device is held alone, zeroed where it is told to, and untouched elsewhere',
  {
    skip: noLoopDevices,
  },
  async t => {
    const { device, backing } = await makeLoop(t, {
      folder: deviceFolder(t),
      bytes: 65_536,
      fill: 0xff,
    })
    {
      await using target = openDeviceTarget(device, 10_001)
      t.equal(target.readsAsZero, false, 'nothing is known of what it holds')
      t.equal(target.bytes, 65_536)
      await t.rejects(claim(t, device), { code: 'EBUSY' })
      await target.prepare(10_001)
      await loadAddon().zeroRuns(target.handle, Float64Array.from([511, 9490]))
      await target.flush()
      await target.finish(10_001)
    }
    const expected = Buffer.alloc(65_536, 0xff).fill(0, 511, 10_001)
    t.ok(readFileSync(backing).equals(expected))
    await t.resolves(claim(t, device), 'and nobody holds it afterwards')
  },
)

t.test(
  'a device that cannot be written is refused, and let go',
  {
    skip: noLoopDevices,
  },
  async t => {
    const folder = deviceFolder(t)
    const small = await makeLoop(t, { folder, bytes: 4096 })
    const fixed = await makeLoop(t, { folder, bytes: 4096, isReadOnly: true })
    const held = await makeLoop(t, { folder, bytes: 4096 })
    await claim(t, held.device)
    const rows = [
      { device: small.device, volumeBytes: 4097, reason: 'too-small' },
      { device: fixed.device, volumeBytes: 4096, reason: 'read-only' },
      { device: held.device, volumeBytes: 4096, reason: 'held' },
    ]
    for (const { device, volumeBytes, reason } of rows) {
      const open = () => openDeviceTarget(device, volumeBytes)
      t.throws(open, { code: 'TARGET_REFUSED', stage: 'open', details: { reason } })
    }
    await t.resolves(claim(t, small.device))
    t.throws(() => openDeviceTarget('/dev/none', 0), { code: 'TARGET_UNUSABLE' })
  },
)
