/** `mover cbt status` against files, images and servers as they are found, and what it says holds. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { JSON_SCHEMA } from '../../src/cli/json-schema.js'
import { main } from '../../src/cli/main.js'
import { backedUpDisk, machineScene } from '../support/machine-scene.js'
import { qemuNbd } from '../support/nbd-servers.js'
import {
  addBitmap,
  createImage,
  guest,
  qemuImg,
  setBits,
  StorageDaemon,
} from '../support/qcow2-images.js'
import { MiB } from '../support/volumes.js'
import { fakeIo } from './fake-io.js'
import { misfits } from './json-schema-check.js'

const KiB = 1024

async function status(t: Test, source: string): Promise<Record<string, unknown>> {
  const io = fakeIo({})
  t.equal(await main(['cbt', 'status', source, '--json'], io), 0)
  t.equal(io.stdout.lines.length, 1)
  const line = JSON.parse(io.stdout.text) as Record<string, unknown>
  t.strictSame(misfits(line, JSON_SCHEMA, JSON_SCHEMA), [])
  return line
}

async function say(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const io = fakeIo({})
  const code = await main(argv, io)
  return { code, stdout: io.stdout.text, stderr: io.stderr.text }
}

/** An image of 16 MiB with a bitmap that recorded, and one that did not. */
function makeImage(dir: string): string {
  const image = join(dir, 'vm 42.qcow2')
  createImage(image, '16M')
  addBitmap(image, 'monday')
  addBitmap(image, 'tuesday', '4k')
  qemuImg('bitmap', '--disable', image, 'tuesday')
  guest(image, 'write 1M 64k', 'write -z 5M 1M')
  return image
}

t.test('the bitmaps in an image', async t => {
  const image = makeImage(t.testdir({}))
  const found = await status(t, `qcow2:${image}`)
  t.strictSame(found, {
    type: 'result',
    operation: 'cbt-status',
    source: `qcow2:${image}`,
    kind: 'qcow2',
    volumeBytes: 16 * MiB,
    dataFile: null,
    trackers: [
      {
        kind: 'qcow2-bitmap',
        name: 'monday',
        isOwn: false,
        granularityBytes: 64 * KiB,
        dirtyBytes: MiB + 64 * KiB,
        flags: ['recording'],
        health: 'superset',
        reason: null,
        changes: `qcow2:${image},bitmap=monday`,
        remedy: null,
      },
      {
        kind: 'qcow2-bitmap',
        name: 'tuesday',
        isOwn: false,
        granularityBytes: 4 * KiB,
        dirtyBytes: null,
        flags: [],
        health: 'lost',
        reason: 'bitmap-disabled',
        changes: null,
        remedy:
          `begin anew while it is not in use: qemu-img bitmap --remove ${image} tuesday; ` +
          `qemu-img bitmap --add ${image} NAME, then a backup with --checkpoint NAME, before anything ` +
          'writes to it',
      },
    ],
    reason: null,
    remedy: null,
  })
  const { code, stdout } = await say('cbt', 'status', `qcow2:${image}`)
  t.equal(code, 0)
  t.match(stdout, /^monday +64.00 KiB +1.06 MiB +an incremental \(superset\) +others +recording$/m)
  t.match(stdout, /^tuesday +4.00 KiB +\? +a rescan +others$/m)
  t.match(stdout, `--changes 'qcow2:${image},bitmap=monday,since=REF'`)
  t.match(stdout, /lost: the dirty bitmap was disabled/)
  const bare = await say('cbt', 'status', `qcow2:${image}`, '--quiet')
  t.equal(bare.stdout, `qcow2:${image},bitmap=monday\n`)
})

t.test('images whose tracking is lost, each with what to do', async t => {
  const dir = t.testdir({})
  const image = makeImage(dir)
  const daemon = await StorageDaemon.open(t, image)
  const trackers = [{ flags: ['recording', 'in-use'] }, { flags: ['in-use'] }]
  const whileUsed = { reason: 'image-in-use', remedy: /end the program.*qmp:PATH.*libvirt:DOMAIN/ }
  t.match(await status(t, `qcow2:${image}`), {
    trackers: trackers.map(tracker => ({ ...tracker, ...whileUsed })),
  })
  await daemon.kill()
  const killed = { reason: 'bitmap-in-use', remedy: /begin anew .*--remove/ }
  t.match(await status(t, `qcow2:${image}`), {
    trackers: trackers.map(tracker => ({ ...tracker, ...killed })),
  })
  setBits(image, 88, 1n, false)
  t.match(await status(t, `qcow2:${image}`), {
    trackers: [],
    reason: 'bitmaps-dropped',
    remedy: /begin anew/,
  })
  t.match((await say('cbt', 'status', `qcow2:${image}`)).stdout, /^trackers +none$/m)
  setBits(image, 72, 2n)
  t.match(await status(t, `qcow2:${image}`), { reason: 'image-corrupt', remedy: /qemu-img check/ })

  const none = join(dir, 'none.qcow2')
  createImage(none, '1M', `data_file=${join(dir, 'data')}`, 'data_file_raw=on')
  t.match(await status(t, `qcow2:${none}`), {
    dataFile: join(dir, 'data'),
    trackers: [],
    reason: 'bitmap-absent',
    remedy: /--add/,
  })
})

t.test('an encrypted image is read by way of who has the key', async t => {
  const image = join(t.testdir({}), 'luks.qcow2')
  const secret = ['--object', 'secret,id=key,data=abc']
  const luks = 'encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10'
  qemuImg('create', '-q', ...secret, '-f', 'qcow2', '-o', luks, image, '16M')
  const encrypted = { reason: 'image-encrypted', remedy: /serve it with qemu-nbd.* with the key/ }
  t.match(await status(t, `qcow2:${image}`), { trackers: [], ...encrypted })
  t.match((await say('cbt', 'status', `qcow2:${image}`)).stdout, /because +the image is encrypted/)
  const keyed = `driver=qcow2,file.filename=${image},encrypt.key-secret=key`
  qemuImg('bitmap', '--add', ...secret, '--image-opts', keyed, 'monday')
  t.match(await status(t, `qcow2:${image}`), { trackers: [{ name: 'monday' }], ...encrypted })
})

t.test('what an NBD server exports', async t => {
  const image = makeImage(t.testdir({}))
  qemuImg('bitmap', '--enable', image, 'tuesday')
  const args = ['-r', '-t', '-e', '1', '-B', 'monday', '-B', 'tuesday']
  const { uri } = await qemuNbd(t, image, { format: 'qcow2', args })
  t.match(await status(t, uri), {
    kind: 'nbd',
    volumeBytes: 16 * MiB,
    trackers: [
      { name: 'monday', dirtyBytes: MiB + 64 * KiB, health: 'superset', flags: [] },
      { name: 'tuesday', dirtyBytes: 0, changes: `${uri},bitmap=tuesday` },
    ],
  })
  const without = await qemuNbd(t, image, { format: 'qcow2', args: ['-r', '-t'] })
  t.match(await status(t, without.uri), { trackers: [], remedy: /qemu-nbd -B NAME/ })
})

t.test('the disks of a machine', async t => {
  const { machine, repository } = await machineScene(t)
  const source = `qmp:${machine.socket}/disk0`
  t.match(await status(t, source), { operation: 'cbt-status-machine', disks: [{ trackers: [] }] })
  const { checkpoint } = await backedUpDisk(machine, { repository })
  await machine.guest('disk0', 'write -P 0x11 1M 64k')
  t.match(await status(t, source), { disks: [{ trackers: [{ name: checkpoint, isOwn: true }] }] })
  const { stdout } = await say('cbt', 'status', source)
  t.match(stdout, /^machine +qmp:.*$/m)
  t.match(stdout, /^disk +disk0$/m)
  const row = `${checkpoint} +64.00 KiB +64.00 KiB +an incremental \\(superset\\) +mover +recording, persistent`
  t.match(stdout, new RegExp(`^${row}$`, 'm'))
  t.notMatch(
    stdout,
    new RegExp(`^${checkpoint}$`, 'm'),
    'of what needs no words there is no section',
  )
  t.equal((await say('cbt', 'status', source, '--quiet')).stdout, `${checkpoint}\n`)
})

t.test('files and devices tell nothing of themselves', async t => {
  const dir = t.testdir({})
  const raw = join(dir, 'raw')
  writeFileSync(raw, Buffer.alloc(4096))
  t.match(await status(t, raw), { kind: 'file', trackers: [], remedy: /data_file=/ })
  const image = makeImage(dir)
  t.match(await status(t, image), { kind: 'file', trackers: [], remedy: `qcow2:${image}` })
})

t.test('what cannot be', async t => {
  const dir = t.testdir({ raw: 'no image' })
  const rows: [string[], number, RegExp][] = [
    [['cbt'], 2, /status is missing/],
    [['cbt', 'stats', 'x'], 2, /'stats' is none of status/],
    [['cbt', 'status'], 2, /SOURCE is missing/],
    [['cbt', 'status', 'qmp:x'], 2, /does not name a machine/],
    [['cbt', 'status', `qmp:${dir}/none/x`], 4, /this is the socket of a QMP/],
    [['cbt', 'status', `libvirt:vm?socket=${dir}/none`], 4, /libvirt/],
    [['cbt', 'status', join(dir, 'missing')], 4, /cannot be found/],
    [['cbt', 'status', `qcow2:${dir}/raw`], 4, /not a sound qcow2 image.*\n *try: qemu-img check/],
    [['cbt', 'status', 'nbd+unix:///x?socket=/no'], 4, /No such file/],
  ]
  for (const [argv, code, message] of rows) {
    const said = await say(...argv)
    t.equal(said.code, code, argv.join(' '))
    t.match(said.stderr, message)
  }
})
