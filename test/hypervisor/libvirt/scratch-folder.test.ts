import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  makeScratchFolder,
  ownerOfSocket,
  removeDeadFolder,
} from '../../../src/hypervisor/libvirt/scratch-folder.js'

t.test('the owner of a job is told by the path of its socket', async t => {
  const parent = mkdtempSync(join(tmpdir(), 'lv-'))
  t.teardown(() => rmSync(parent, { recursive: true }))
  const folder = await makeScratchFolder(parent, { uid: 12_345, gid: 12_346 })
  const [name = ''] = readdirSync(parent)
  t.match(statSync(join(parent, name)), { uid: 12_345, gid: 12_346 })
  t.equal(statSync(join(parent, name)).mode % 0o1000, 0o700)
  t.equal(await ownerOfSocket(folder.socket), 'a live mover')
  writeFileSync(folder.scratchOf('vda'), 'x')
  await folder[Symbol.asyncDispose]()
  t.strictSame(readdirSync(parent), [], 'its files go with it')
  t.equal(await ownerOfSocket(folder.socket), 'a dead mover')

  for (const socket of [
    null,
    '/tmp/b',
    `${parent}/mover-1/nbd`,
    folder.socket.replace(/nbd$/, 'x'),
  ]) {
    t.equal(await ownerOfSocket(socket), 'somebody else', String(socket))
  }
  // What is there and answers otherwise proves nothing.
  mkdirSync(join(parent, name))
  writeFileSync(join(parent, name, 'alive'), '')
  t.equal(await ownerOfSocket(folder.socket), 'a dead mover', 'no process listens on a file')
  await removeDeadFolder(folder.socket)
  t.notOk(existsSync(join(parent, name)))
})

t.test('a folder that cannot be is refused before a job is begun', async t => {
  await t.rejects(makeScratchFolder(`/${'x'.repeat(80)}`, null), {
    code: 'ARGUMENT_INVALID',
    remedy: /shorter path/,
  })
  await t.rejects(makeScratchFolder(join(t.testdir({}), 'no').slice(-60), null), {
    code: 'HYPERVISOR_FAILED',
  })
})
