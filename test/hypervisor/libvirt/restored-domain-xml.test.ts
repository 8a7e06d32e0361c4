import t from 'tap'
import { oldDisks, restoredDomain } from '../../../src/hypervisor/libvirt/restored-domain-xml.js'

const DESCRIPTION = `<domain type='kvm'>
  <name>vm &amp; co</name><uuid>8f9a2c61-1f0e-4a9b-9d3e-0a1b2c3d4e5f</uuid>
  <!-- kept --><os><nvram>/nvram/vm.fd</nvram></os>
  <devices>
    <disk type='network' device='disk' model='virtio'>
      <driver name='qemu' type='qcow2' cache='none'><metadata_cache/></driver>
      <auth username='x'/>
      <source protocol='rbd' name='pool/vm'><host name='h'/></source>
      <backingStore type='file'><source file='/old'/></backingStore>
      <target dev='vda' bus='virtio'/><serial>S1</serial>
    </disk>
    <disk><target dev='vdb'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='hda'/></disk>
    <disk type='file' device='cdrom'><target dev='hdb'/></disk>
    <tpm model='tpm-crb'/>
  </devices>
</domain>
`

t.test('only the places of the disks are changed, and what is missing is named', async t => {
  const { name, xml, missing } = restoredDomain(
    DESCRIPTION,
    new Map([
      ['vda', { type: 'file', path: `/d/it's.raw`, format: 'raw' }],
      ['vdb', { type: 'block', path: '/dev/sdx', format: 'raw' }],
    ]),
  )
  t.equal(name, 'vm & co')
  const disk = `<disk type='file' device='disk' model='virtio'><driver name='qemu' type='raw' cache='none'></driver><source file='/d/it&#39;s.raw'/>`
  const wanted = DESCRIPTION.replace(/<disk type='network'[^]*?(?=\n {6}<target)/, '@')
    .replace('@', `${disk}${'\n      '.repeat(4).slice(0, -7)}`)
    .replace(
      `<disk><target dev='vdb'/>`,
      `<disk type='block'><driver name='qemu' type='raw'></driver><source dev='/dev/sdx'/><target dev='vdb'/>`,
    )
  const words = (text: string) => text.replace(/\s+/g, ' ').replace(/> </g, '><')
  t.equal(words(xml), words(wanted))
  t.strictSame(missing, [
    'disk hda, /iso/a.iso',
    `the firmware's variables, /nvram/vm.fd`,
    'the state of its TPM',
  ])
})

t.test('a disk that was an image, and is one again, keeps what is said of images', async t => {
  t.match(oldDisks(DESCRIPTION).get('vda'), { isImage: true, isEncrypted: false })
  t.match(oldDisks(DESCRIPTION).get('vdb'), { isImage: false })
  const place = { type: 'file', path: '/d/vda.qcow2', format: 'qcow2' } as const
  const { xml } = restoredDomain(DESCRIPTION, new Map([['vda', place]]))
  t.match(
    xml,
    `<driver name='qemu' type='qcow2' cache='none'><metadata_cache/></driver><source file='/d/vda.qcow2'/>`,
  )
})

t.test('what only images have goes with the image', async t => {
  const [head = '', tail = ''] = DESCRIPTION.split(" cache='none'")
  const place = { type: 'file', path: '/d/vda.raw', format: 'raw' } as const
  const described = `${head} discard_no_unref='on'${tail}`
  t.notMatch(restoredDomain(described, new Map([['vda', place]])).xml, /discard_no_unref|metadata/)
  const image = { ...place, format: 'qcow2' } as const
  t.match(restoredDomain(described, new Map([['vda', image]])).xml, /discard_no_unref/)
})

t.test('encryption is seen in the disk and in its source', async t => {
  for (const place of [
    "<encryption format='luks'/><source file='/x'/>",
    "<source file='/x'><encryption/></source>",
  ]) {
    const disk = `<disk>${place}<target dev='vdc'/></disk>`
    const xml = `<domain><name>vm</name><devices>${disk}</devices></domain>`
    t.match(oldDisks(xml).get('vdc'), { isImage: false, isEncrypted: true })
  }
})

t.test('a disk that the description does not have is named', async t => {
  const place = { type: 'file', path: '/d/vdz.raw', format: 'raw' } as const
  const { missing } = restoredDomain(DESCRIPTION, new Map([['vdz', place]]))
  t.match(missing, [
    /vda/,
    /hda/,
    /^disk vdz, attached only while it ran and restored to \/d\/vdz.raw/,
  ])
})
