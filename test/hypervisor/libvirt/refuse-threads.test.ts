import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backupMachine } from '../../../src/backup-machine.js'
import { threadedDisks } from '../../../src/hypervisor/libvirt/refuse-threads.js'
import { parseXml } from '../../../src/hypervisor/libvirt/xml.js'
import { openMachine } from '../../../src/open-machine.js'
import { defineDomain, domainXml, makeImage, startLibvirtd } from '../../support/libvirtd.js'
import { makeRepository } from '../../support/repository.js'

t.setTimeout(300_000)

const rows = [
  { devices: `<disk><target dev='vda' bus='virtio'/></disk>`, threaded: [] },
  {
    devices:
      `<disk><driver name='qemu' iothread='1'/><target dev='vda' bus='virtio'/></disk>` +
      `<disk><target dev='vdb' bus='virtio'/></disk>`,
    threaded: ['vda'],
  },
  {
    devices:
      `<controller type='scsi' index='1'><driver iothread='1'/></controller>` +
      `<controller type='scsi' index='0'/>` +
      `<disk><target dev='sda' bus='scsi'/><address type='drive' controller='0'/></disk>` +
      `<disk><target dev='sdb' bus='scsi'/><address type='drive' controller='1'/></disk>` +
      `<disk><target dev='sdc' bus='sata'/><address type='drive' controller='1'/></disk>`,
    threaded: ['sdb'],
  },
  {
    devices:
      `<disk><driver name='qemu'><iothreads><iothread id='1'/></iothreads></driver>` +
      `<target dev='vda' bus='virtio'/></disk>`,
    threaded: ['vda'],
  },
]

t.test('a disk is served by a thread of its own, or of its controller', async t => {
  for (const { devices, threaded } of rows) {
    const description = parseXml(`<domain><devices>${devices}</devices></domain>`)
    t.strictSame([...threadedDisks(description)], threaded, devices)
  }
})

// Debian's QEMU 7.2 was seen to end when mover let go of such a disk.
t.test('a disk with an iothread is refused, and its guest goes on', async t => {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const path = join(folder, 'vda.qcow2')
  await makeImage(path, '16M', 'qcow2')
  const xml = domainXml('vm', [{ target: 'vda', path }])
    .replace('</name>', '</name><iothreads>1</iothreads>')
    .replace(`<driver name='qemu' type='qcow2'`, `<driver name='qemu' iothread='1' type='qcow2'`)
  await defineDomain(libvirtd, xml)
  const repository = await makeRepository(t, join(folder, 'repository'))
  const scratch = join(folder, 's')
  mkdirSync(scratch)
  await using machine = await openMachine(`libvirt:vm?socket=${socket}`, { scratch })
  await using job = backupMachine({ machine, repository, volume: 'vm' })
  await t.rejects(job.result, {
    code: 'HYPERVISOR_REFUSED',
    message: /disk vda of domain 'vm' is served by an iothread, and QEMU 7\./,
  })
  t.match(await libvirtd.virsh('domstate', 'vm'), /running/)
})
