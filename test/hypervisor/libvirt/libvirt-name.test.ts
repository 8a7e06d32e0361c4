import t from 'tap'
import { parseLibvirtName } from '../../../src/hypervisor/libvirt/libvirt-name.js'

const rows = [
  { name: 'libvirt:vm', domain: 'vm', disks: null, socket: null },
  { name: 'libvirt:vm%201/vda', domain: 'vm 1', disks: ['vda'], socket: null },
  { name: 'libvirt:vm/vda,sdb', domain: 'vm', disks: ['vda', 'sdb'], socket: null },
  { name: 'libvirt:ü?socket=/a%26b', domain: 'ü', disks: null, socket: '/a&b' },
  { name: 'libvirt:vm/vda?socket=/s', domain: 'vm', disks: ['vda'], socket: '/s' },
]

t.test('a name says domain, disks and socket', async t => {
  for (const { name, ...parts } of rows) t.strictSame(parseLibvirtName(name), parts, name)
})

t.test('what names no domain is refused', async t => {
  const names = [
    'libvirt:',
    'libvirt:/vda',
    'libvirt:vm/',
    'libvirt:vm/vda,',
    'libvirt:vm/vda,sdb,vda',
    'libvirt:vm/../etc',
    'libvirt:vm/v d',
    'libvirt:vm?socket=',
    'libvirt:vm?sockets=/s',
    'libvirt:vm?socket=/s&x=1',
    'libvirt:vm%',
    'vm',
  ]
  for (const name of names)
    t.throws(() => parseLibvirtName(name), { code: 'ARGUMENT_INVALID' }, name)
})
