import t, { type Test } from 'tap'
import { parseQemuName } from '../../../src/hypervisor/qemu/qemu-name.js'
import { openMachine } from '../../../src/open-machine.js'
import { machineScene } from '../../support/machine-scene.js'
import { startMachine } from '../../support/qemu.js'

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

t.test('a socket without a disk is told the disks that there are', async t => {
  const { machine } = await machineScene(t)
  await t.rejects(openMachine(`qmp:${machine.socket}`), {
    code: 'ARGUMENT_INVALID',
    message: `'qmp:${machine.socket}' names no disk of the machine`,
    remedy: `write qmp:PATH/NODE, with one of dev-disk0, disk0`,
  })
  await t.rejects(openMachine(`qmp:${machine.socket}/`), { message: /names no disk/ })
  const { folder, socket } = await emptyMachine(t)
  await t.rejects(openMachine(`qmp:${socket}`), {
    code: 'ARGUMENT_INVALID',
    remedy: /qmp:PATH\/NODE, .*query-named-block-nodes/,
  })
  await t.rejects(openMachine(`qmp:${folder}/none/disk0`), { code: 'HYPERVISOR_FAILED' })
})

t.test('one disk by two of its names is refused', async t => {
  const { machine } = await machineScene(t)
  const name = `qmp:${machine.socket}/disk0,dev-disk0`
  await t.rejects(openMachine(name), {
    code: 'ARGUMENT_INVALID',
    message: "'disk0' and 'dev-disk0' are one disk",
    remedy: /once/,
  })
})

async function emptyMachine(t: Test) {
  const { scratch: folder, socket } = await startMachine(t, [])
  return { folder, socket }
}
