import { join } from 'node:path'
import t from 'tap'
import {
  backupXml,
  checkpointFacts,
  checkpointXml,
  backupJobFacts,
} from '../../../src/hypervisor/libvirt/backup-xml.js'
import { LibvirtConnection } from '../../../src/hypervisor/libvirt/connection.js'
import { Domain } from '../../../src/hypervisor/libvirt/domain.js'
import { disksOf } from '../../../src/hypervisor/libvirt/domain-disks.js'
import { LIBVIRT_ERRORS } from '../../../src/hypervisor/libvirt/libvirt-error.js'
import { parseXml } from '../../../src/hypervisor/libvirt/xml.js'
import {
  defineDomain,
  domainXml,
  guestIo,
  makeImage,
  startLibvirtd,
} from '../../support/libvirtd.js'

t.test('a running domain is asked, and answers', async t => {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const image = join(folder, 'a.qcow2')
  await makeImage(image, '16M')
  await makeImage(join(folder, 'cd.iso'), '1M', 'raw')
  const uuid = '8f9a2c61-1f0e-4a9b-9d3e-0a1b2c3d4e5f'
  const cdrom = {
    target: 'hda',
    path: join(folder, 'cd.iso'),
    format: 'raw',
    device: 'cdrom',
  } as const
  await defineDomain(libvirtd, domainXml('vm-ü', [{ target: 'vda', path: image }, cdrom], { uuid }))

  await using connection = await LibvirtConnection.open([socket])
  const domain = await Domain.lookup(connection, 'vm-ü')
  t.equal(domain.uuid, uuid)
  t.equal((await Domain.lookup(connection, uuid.toUpperCase())).name, 'vm-ü')
  await t.rejects(Domain.lookup(connection, 'nosuch'), {
    code: 'HYPERVISOR_REFUSED',
    message: /libvirt says: Domain not found/,
    details: { libvirt: LIBVIRT_ERRORS.noDomain },
  })
  t.equal((await domain.state()).isActive, true)
  t.equal(await domain.isPersistent(), true)
  t.match(await domain.blockInfo('vda'), { capacity: 16 * 1024 ** 2 })
  const { disks, leftOut } = disksOf(parseXml(await domain.xml({ isInactive: true })))
  t.match(disks, [{ target: 'vda', type: 'file', path: image, format: 'qcow2' }])
  t.match(leftOut, [{ target: 'hda', reason: 'it is a cdrom' }])

  t.equal(await domain.backupXml(), null)
  t.equal((await domain.jobStats()).type, 0)
  await guestIo(libvirtd, 'vm-ü', 'write -P 0x11 1M 64k')
  const disk = { target: 'vda', since: null, scratch: join(folder, 'vda.scratch') }
  const job = { socket: join(folder, 'nbd.sock'), disks: [disk] }
  const plan = { description: 'a & b', targets: ['vda'], others: ['hda'] }
  await domain.beginBackup({
    backupXml: backupXml(job),
    checkpointXml: checkpointXml({ name: 'one', ...plan }),
  })
  t.strictSame(backupJobFacts((await domain.backupXml()) ?? ''), {
    mode: 'pull',
    socket: job.socket,
    incremental: null,
    targets: ['vda'],
  })
  t.equal((await domain.jobStats()).fields.get('operation'), 9, 'VIR_DOMAIN_JOB_OPERATION_BACKUP')
  await domain.abortJob()
  t.strictSame(await domain.checkpoints(), ['one'])
  t.strictSame(checkpointFacts(await domain.checkpointXml('one')), {
    description: 'a & b',
    targets: ['vda'],
    sizes: new Map(),
  })
  await libvirtd.virsh('checkpoint-create-as', 'vm-ü', 'two', '--diskspec', 'hda,checkpoint=no')
  t.strictSame(await domain.checkpoints(), ['one', 'two'])
  await domain.deleteCheckpoint('one')
  t.strictSame(await domain.checkpoints(), ['two'])
  await domain.deleteCheckpoint('two', { isMetadataOnly: true })
  t.strictSame(await domain.checkpoints(), [])
})

t.test('who has to authenticate is told so', async t => {
  const { socket } = await startLibvirtd(t, { auth: 'sasl' })
  await t.rejects(LibvirtConnection.open([socket]), {
    code: 'HYPERVISOR_REFUSED',
    message: /authentication by sasl/,
    remedy: /auth_unix_rw/,
  })
})

t.test('a libvirt that is not there is named', async t => {
  const path = join(t.testdir({}), 'nothing')
  await t.rejects(LibvirtConnection.open([path, `${path}2`]), {
    code: 'HYPERVISOR_FAILED',
    message: /nothing: .*ENOENT.*nothing2: /,
  })
})
