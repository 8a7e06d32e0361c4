import t from 'tap'
import { parseQemuName } from '../../../src/hypervisor/qemu/machine-name.js'

t.test('names of machines', async t => {
  const rows: [name: string, socket: string, disks: string[]][] = [
    ['qmp:/run/vm.qmp/disk0', '/run/vm.qmp', ['disk0']],
    ['qmp:/run/a,b/disk0,disk1', '/run/a,b', ['disk0', 'disk1']],
    ['qmp:vm.qmp/#block123', 'vm.qmp', ['#block123']],
  ]
  for (const [name, socket, disks] of rows) {
    t.strictSame(parseQemuName(name), { socket, disks }, name)
  }
})

t.test('what is no name of a machine', async t => {
  for (const name of [
    'qmp:',
    'qmp:disk0',
    'qmp:/disk0',
    'qmp:/run/vm.qmp/',
    'qmp:/run/vm.qmp/a,',
    'qmp:/run/vm.qmp/a,a',
    'qmp:/run/vm.qmp/0a',
    'qmp:/run/vm.qmp/a b',
    `qmp:/run/vm.qmp/${Array.from({ length: 65 }, (_, at) => `a${at}`).join()}`,
  ]) {
    t.throws(() => parseQemuName(name), { code: 'ARGUMENT_INVALID' }, name)
  }
})
