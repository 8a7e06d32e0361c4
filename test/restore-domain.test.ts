/** A domain that is lost with its disks comes back, and starts. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  defineDomain,
  domainXml,
  guestIo,
  startLibvirtd,
  type Libvirtd,
} from './support/libvirtd.js'
import { makeRepository } from './support/repository.js'
import { runMoverJson } from './support/run-mover.js'

/**
 * Reads the second sector of the first disk and the first one of the second disk, prints both to the
 * serial port up to a zero, and halts. It lies where a BIOS loads it, at 0x7c00.
 */
const BOOT_SECTOR = Buffer.from(
  [
    '31c0 8ed8 8ec0 8ed0', // xor ax, ax; ds, es and ss are 0
    'bc007c', // mov sp, 0x7c00
    'bb007e b80102 b90200 b600 cd13', // drive dl: one sector, the second, to 0x7e00
    '722a', // jc halt
    'bb0080 b80102 b90100 ba8100 cd13', // drive 0x81: the first, to 0x8000
    '721a', // jc halt
    'be007e', // mov si, 0x7e00
    'ac 84c0 7412', // next: lodsb; if it is 0, halt
    '88c4 bafd03', // mov ah, al; mov dx, the line's status
    'ec a820 74fb', // wait until it can take a byte
    'baf803 88e0 ee ebe9', // send it; jmp next
    'fa f4 ebfd', // halt: cli; hlt, for ever
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)

const UUID = '8f9a2c61-1f0e-4a9b-9d3e-0a1b2c3d4e5f'
const MiB = 1024 ** 2

interface Scene {
  readonly libvirtd: Libvirtd
  readonly repository: string
  readonly images: string
  readonly serial: string
  readonly backup: readonly string[]
}

/** A domain that boots, of two disks; the text on them says that it is old, until the guest writes. */
async function scene(t: Test): Promise<Scene> {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const [images, serial, scratch] = ['images', 'serial.log', 'scratch'].map(name =>
    join(folder, name),
  )
  if (images === undefined || serial === undefined || scratch === undefined)
    throw new Error('three')
  mkdirSync(images)
  mkdirSync(scratch)
  const boot = Buffer.alloc(8 * MiB)
  BOOT_SECTOR.copy(boot)
  boot.writeUInt16LE(0xaa55, 510)
  boot.fill('old.', 512, 1024)
  const second = Buffer.alloc(8 * MiB)
  second.write(' and old', 0)
  const disks = [boot, second].map((bytes, nth) => {
    const path = join(images, `${nth}.qcow2`)
    writeFileSync(`${path}.raw`, bytes)
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', `${path}.raw`, path])
    rmSync(`${path}.raw`)
    return { target: ['vda', 'vdb'][nth] ?? '', path, more: `<serial>S${nth}</serial>` }
  })
  const console_ = `<serial type='file'><source path='${serial}'/><target port='0'/></serial>`
  await defineDomain(libvirtd, domainXml('vm', disks, { uuid: UUID, more: console_ }))
  await makeRepository(t, join(folder, 'repository'))
  const backup = ['backup', `libvirt:vm?socket=${socket}`, '--volume', 'vm', '--scratch', scratch]
  return { libvirtd, repository: join(folder, 'repository'), images, serial, backup }
}

async function prints(serial: string, text: string): Promise<void> {
  for (let tries = 0; tries < 1500; tries += 1) {
    if (textOf(serial).includes(text)) return
    await sleep(20)
  }
  throw new Error(`the guest does not print '${text}': ${textOf(serial)}`)
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

t.test('a lost domain starts again, with the bytes of its last backup', async t => {
  const { libvirtd, repository, images, serial, backup } = await scene(t)
  await prints(serial, 'old. and old')
  const full = await runMoverJson(backup, { repository })
  t.match(full, { code: 0, result: { operation: 'backup-machine' } }, full.stderr)
  await guestIo(libvirtd, 'vm', 'write -P 0x6e 512 512')
  await guestIo(libvirtd, 'vm', 'write -P 0x77 0 512', 1)
  const next = await runMoverJson(backup, { repository })
  const incremental = { mode: 'incremental', reason: null }
  t.match(next, { code: 0, result: { disks: [incremental, incremental] } }, next.stderr)

  await libvirtd.virsh('destroy', 'vm')
  await libvirtd.virsh('undefine', 'vm', '--checkpoints-metadata')
  rmSync(images, { recursive: true })
  rmSync(serial)

  const description = join(libvirtd.folder, 'vm.xml')
  const made = join(libvirtd.folder, 'made')
  const inside = ['restore', 'vm/vda@latest', made, '--domain-xml', join(made, 'vm.xml')]
  t.equal((await runMoverJson(inside, { repository })).code, 0, 'the description beside the disks')
  t.strictSame(readdirSync(made).sort(), ['vda.qcow2', 'vdb.qcow2', 'vm.xml'])
  const words = ['restore', 'vm/vda@latest', images, '--domain-xml', description]
  const restored = await runMoverJson(words, { repository })
  t.match(restored, { code: 0, result: { domain: 'vm', missing: [] } }, restored.stderr)
  t.strictSame(readdirSync(images).sort(), ['vda.qcow2', 'vdb.qcow2'])
  await libvirtd.virsh('define', description)
  await libvirtd.virsh('start', 'vm')
  await prints(serial, `${'n'.repeat(512)}${'w'.repeat(512)}`)
  t.equal(await libvirtd.virsh('domuuid', 'vm'), UUID)
  const defined = await libvirtd.virsh('dumpxml', 'vm')
  t.match(defined, /<serial>S0<\/serial>/)
  t.match(defined, /<serial>S1<\/serial>/)

  await backsUpByBitmaps({ libvirtd, repository, backup }, t)

  const again = await runMoverJson(words, { repository })
  t.match(again.error, { code: 'TARGET_EXISTS' })
  await libvirtd.virsh('destroy', 'vm')
  const place = join(libvirtd.folder, 'elsewhere.img')
  const others = ['--domain-xml', `${description}.2`, '--disk', `vda=${place}`, '--force=exists']
  const older = await runMoverJson(['restore', 'vm/vda@latest~3', images, ...others], {
    repository,
  })
  t.equal(older.code, 0, older.stderr)
  const [warning, ...more] = older.lines.filter(({ type }) => type === 'warning')
  t.match(warning, { code: 'FORMAT_CHANGED', message: /disk vda was a qcow2 image/ })
  t.strictSame(more, [])
  t.match(readFileSync(`${description}.2`, 'utf8'), new RegExp(`<source file='${place}'/>`))
  await libvirtd.virsh('define', `${description}.2`)
  rmSync(serial)
  await libvirtd.virsh('start', 'vm')
  await prints(serial, 'old. and old')
})

/** The restored images keep bitmaps, as those did that were lost. */
async function backsUpByBitmaps(
  { libvirtd, repository, backup }: Pick<Scene, 'libvirtd' | 'repository' | 'backup'>,
  t: Test,
): Promise<void> {
  const first = await runMoverJson(backup, { repository })
  t.match(first, { code: 0, result: { disks: [{ mode: 'rescan' }, { mode: 'rescan' }] } })
  await libvirtd.virsh('destroy', 'vm')
  await libvirtd.virsh('start', 'vm')
  const next = await runMoverJson(backup, { repository })
  const incremental = { mode: 'incremental', reason: null }
  t.match(next, { code: 0, result: { disks: [incremental, incremental] } }, next.stderr)
}

t.test('what cannot be a whole domain is refused', async t => {
  const { libvirtd, repository, images, backup } = await scene(t)
  const description = join(libvirtd.folder, 'vm.xml')
  const restore = (reference: string, ...more: string[]) =>
    runMoverJson(['restore', reference, images, '--domain-xml', description, ...more], {
      repository,
    })
  const file = join(libvirtd.folder, 'file')
  writeFileSync(file, 'x')
  await runMoverJson(['backup', file, '--volume', 'file'], { repository })
  t.match((await restore('file@latest')).error, {
    code: 'ARGUMENT_INVALID',
    message: /no description/,
  })

  await runMoverJson(backup, { repository })
  t.match((await restore('vm/vda@latest', '--disk', 'vdx=/a')).error, { code: 'ARGUMENT_INVALID' })
  t.match((await restore('vm/vda@latest', '--disk', 'vda=nbd://h/')).error, {
    code: 'ARGUMENT_INVALID',
    message: /a file or a device/,
  })
  for (const words of [
    ['--disk', 'vda=libvirt:vm/vda'],
    ['--disk', 'vda=qmp:/a/b'],
  ]) {
    t.match((await restore('vm/vda@latest', ...words)).error, {
      code: 'ARGUMENT_INVALID',
      message: /is a machine, and no target/,
    })
  }
  symlinkSync(libvirtd.folder, join(libvirtd.folder, 'link'))
  const twice = [
    '--disk',
    `vda=qcow2:${libvirtd.folder}/one`,
    '--disk',
    `vdb=${libvirtd.folder}/link/one`,
  ]
  for (const words of [twice, ['--disk', `vda=${description}`]]) {
    t.match((await restore('vm/vda@latest', ...words)).error, {
      code: 'ARGUMENT_INVALID',
      message: /cannot both go to/,
    })
  }
  const words = ['restore', 'vm/vda@latest', `qcow2:${images}`, '--domain-xml', description]
  t.match((await runMoverJson(words, { repository })).error, { message: /is no folder/ })
  const asFolder = ['restore', 'vm/vda@latest', file, '--domain-xml', description]
  t.match((await runMoverJson(asFolder, { repository })).error, {
    code: 'TARGET_UNUSABLE',
    remedy: /TARGET is a folder/,
  })
  const nowhere = ['restore', 'vm/vda@latest', `${images}2`, '--domain-xml', '/nosuch/vm.xml']
  t.match((await runMoverJson(nowhere, { repository })).error, { message: /cannot write/ })
  const half = join(libvirtd.folder, 'half')
  mkdirSync(half)
  writeFileSync(join(half, 'vdb.qcow2'), '')
  const again = ['restore', 'vm/vda@latest', half, '--domain-xml', description]
  t.match((await runMoverJson(again, { repository })).error, { code: 'TARGET_EXISTS' })
  t.strictSame(readdirSync(half), ['vdb.qcow2'], 'nothing was written before it was seen')
  t.match((await restore('vm/vda@latest', '--onto', 'auto')).error, { code: 'ARGUMENT_INVALID' })
  const [lost = ''] = readdirSync(join(repository, 'manifests')).filter(key =>
    textOf(
      join(repository, 'manifests', key, readdirSync(join(repository, 'manifests', key))[0] ?? ''),
    ).includes('vm/vdb'),
  )
  rmSync(join(repository, 'manifests', lost), { recursive: true })
  t.match((await restore('vm/vda@latest')).error, {
    code: 'MANIFEST_NOT_FOUND',
    message: /of the 2 disks of set [0-9a-f]{32} these are there: vda$/,
  })
})
