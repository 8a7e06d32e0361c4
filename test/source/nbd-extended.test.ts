/** Extended headers of NBD, spoken with QEMU 10; Debian 12's own QEMU does not know them. */
import { join } from 'node:path'
import t from 'tap'
import { nbdChanges } from '../../src/source/nbd-changes.js'
import { openChanges } from '../../src/source/open-changes.js'
import { said } from '../support/extents.js'
import { nbdProxy, type SeenRequest } from '../support/nbd-proxy.js'
import { compareImages, frozenImage } from '../support/nbd-servers.js'
import { addBitmap, createImage, guest } from '../support/qcow2-images.js'
import { qemu10 } from '../support/qemu-10.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { GiB, KiB, TiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'
const CMD_BLOCK_STATUS = 7
const DAEMONS = [
  { name: 'QEMU 10', program: qemu10().storageDaemon, headers: 'extended', requests: 1 },
  // Of 4 GiB less one block each.
  { name: 'QEMU 7.2', program: 'qemu-storage-daemon', headers: 'compact', requests: 1537 },
] as const

/** A request of 32 bits asks for 4 GiB at most, and of these a large disk has many. */
for (const { name, program, headers, requests } of DAEMONS) {
  t.test(`${name} tells the map of 6 TiB in ${requests} of ${headers} headers`, async t => {
    const image = join(t.testdir({}), 'disk.qcow2')
    createImage(image, '6T')
    addBitmap(image, 'monday', '64k')
    guest(image, 'write 0 64k', 'write 4G 64k', `write ${6 * TiB - 512} 512`)
    const proxy = await nbdProxy(
      t,
      (await frozenImage(t, image, { program, bitmap: 'monday' })).uri,
    )
    const volume = { volumeBytes: 6 * TiB, parentVolumeBytes: 6 * TiB }
    const { extents } = await nbdChanges({ uri: proxy.uri, bitmap: 'monday' }).changed(volume)
    t.strictSame(
      (await said(extents)).filter(extent => extent.startsWith('data')),
      ['data 0+65536', `data ${4 * GiB}+65536`, `data ${6 * TiB - 65_536}+65536`],
    )
    const asked = statusesOf(proxy.requests)
    t.strictSame([...new Set(asked.map(request => request.headers))], [headers])
    t.equal(asked.length, requests)
  })
}

function statusesOf(requests: readonly SeenRequest[]): readonly SeenRequest[] {
  return requests.filter(({ command }) => command === CMD_BLOCK_STATUS)
}

t.test('a full backup and an incremental one through extended headers', async t => {
  const dir = t.testdir({})
  const [image, target] = [join(dir, 'disk.qcow2'), join(dir, 'restored')]
  createImage(image, '6T')
  guest(image, 'write -P 1 3M 1M', `write -P 2 ${5 * GiB - 64 * KiB} 128k`, 'write -P 3 5T 64k')
  addBitmap(image, 'monday', '64k')
  const repository = await makeRepository(t, join(dir, 'repo'))
  /** A server of the image as it is now, behind a proxy. */
  const serve = async () => {
    const options = { program: qemu10().storageDaemon, bitmap: 'monday' }
    const server = await frozenImage(t, image, options)
    return { ...server, ...(await nbdProxy(t, server.uri)) }
  }
  const before = await serve()
  const options = { repository, volume: VOLUME }
  const full = await backedUp({ ...options, source: before.uri, checkpoint: 'monday' })
  t.match(full, { mode: 'full' })
  await restored({ repository, manifest: idOf(full), target })
  await compareImages(['raw', target], ['qcow2', image])
  before.child.kill('SIGKILL')

  guest(image, 'write -P 4 3M 64k', 'write -z 5T 64k', `write -P 5 ${6 * TiB - 512} 512`)
  const after = await serve()
  const changes = await openChanges(`${after.uri},bitmap=monday,since=monday`)
  const result = await backedUp({ ...options, source: after.uri, changes })
  t.match(result, { mode: 'incremental', bytes: { read: 2 * 64 * KiB } })
  const onto = `${target}-later`
  await restored({ repository, manifest: idOf(result), target: onto })
  await compareImages(['raw', onto], ['qcow2', image])

  for (const { requests } of [before, after]) {
    t.strictSame([...new Set(requests.map(request => request.headers))], ['extended'])
    t.ok(statusesOf(requests).length <= 3, 'of the allocation, of the bitmap, and of it again')
  }
})
