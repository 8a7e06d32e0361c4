import t from 'tap'
import { disksOf } from '../../../src/hypervisor/libvirt/domain-disks.js'
import { parseXml } from '../../../src/hypervisor/libvirt/xml.js'

const rows: readonly { readonly disk: string; readonly why: RegExp | null }[] = [
  { disk: `<disk type='file'><source file='/a'/><target dev='vda'/></disk>`, why: null },
  { disk: `<disk type='block'><source dev='/dev/a'/><target dev='vda'/></disk>`, why: null },
  { disk: `<disk type='file' device='cdrom'><target dev='vda'/></disk>`, why: /a cdrom/ },
  { disk: `<disk device='lun' type='block'><target dev='vda'/></disk>`, why: /a lun/ },
  { disk: `<disk><source file='/a'/><target dev='vda'/><readonly/></disk>`, why: /read-only/ },
  { disk: `<disk><source file='/a'/><target dev='vda'/><transient/></disk>`, why: /transient/ },
  { disk: `<disk type='network'><source/><target dev='vda'/></disk>`, why: /type network/ },
  { disk: `<disk type='file'><target dev='vda'/></disk>`, why: /nothing is in it/ },
]

t.test('each disk is one that can be backed up, or is left out for a reason', async t => {
  for (const { disk, why } of rows) {
    const found = disksOf(parseXml(`<domain><devices>${disk}</devices></domain>`))
    if (why === null) t.match(found, { disks: [{ target: 'vda', format: 'raw' }], leftOut: [] })
    else t.match(found, { disks: [], leftOut: [{ target: 'vda', reason: why }] })
  }
})

t.test('what the guest knows a disk by is kept', async t => {
  const disk =
    `<disk type='file'><driver name='qemu' type='qcow2'/><source file='/a &amp; b'/>` +
    `<backingStore type='block'><format type='qcow2'/><source dev='/dev/b'/>` +
    `<backingStore type='file'><source file='/c'/><backingStore/></backingStore></backingStore>` +
    `<target dev='sda' bus='scsi'/><serial>S 1</serial><wwn>5000c500a1b2c3d4</wwn></disk>`
  t.strictSame(disksOf(parseXml(`<domain><devices>${disk}</devices></domain>`)).disks, [
    {
      target: 'sda',
      type: 'file',
      path: '/a & b',
      below: ['/dev/b', '/c'],
      format: 'qcow2',
      serial: 'S 1',
      wwn: '5000c500a1b2c3d4',
    },
  ])
})

t.test('a disk without a proper name is an error', async t => {
  for (const target of ['', `<target/>`, `<target dev='../a'/>`, `<target dev='a b'/>`]) {
    const xml = `<domain><devices><disk>${target}</disk></devices></domain>`
    t.throws(() => disksOf(parseXml(xml)), { code: 'HYPERVISOR_FAILED' })
  }
})
