import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import {
  isFolder,
  makeScratchFolder,
  ownerOfSocket,
  removeDeadFolders,
} from '../../../src/hypervisor/libvirt/scratch-folder.js'

const uuid = '8f9a2c61-1f0e-4a9b-9d3e-0a1b2c3d4e5f'

t.test('the owner of a job is told by the path of its socket', async t => {
  const parent = mkdtempSync(join(tmpdir(), 'lv-'))
  t.teardown(() => rmSync(parent, { recursive: true }))
  const folder = await makeScratchFolder(parent, { uuid, owner: { uid: 12_345, gid: 12_346 } })
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
  const living = await makeScratchFolder(parent, { uuid, owner: null })
  mkdirSync(join(parent, 'mover-01234567-89abcdef'))
  await removeDeadFolders(parent, uuid)
  t.strictSame(
    readdirSync(parent).sort(),
    ['mover-01234567-89abcdef', basename(dirname(living.socket))].sort(),
    'of this domain only, and only what is dead',
  )
  await living[Symbol.asyncDispose]()
})

t.test('a folder that cannot be is refused before a job is begun', async t => {
  await t.rejects(makeScratchFolder(`/${'x'.repeat(80)}`, { uuid, owner: null }), {
    code: 'ARGUMENT_INVALID',
    remedy: /shorter path/,
  })
  await t.rejects(makeScratchFolder('/nosuch/folder', { uuid, owner: null }), {
    code: 'HYPERVISOR_FAILED',
  })
})

t.test('a look that fails does not mean that there is no folder', async t => {
  const dir = t.testdir({ file: 'x' })
  symlinkSync('loop', join(dir, 'loop'))
  t.equal(await isFolder(dir), true)
  for (const name of ['nosuch', 'file', 'file/below'])
    t.equal(await isFolder(join(dir, name)), false)
  await t.rejects(isFolder(join(dir, 'loop')), {
    code: 'HYPERVISOR_FAILED',
    message: /cannot look/,
  })
})
