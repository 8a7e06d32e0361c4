/** Scratch space that is too small, or gone: the guest goes on, and nothing wrong is stored. */
import { execFileSync } from 'node:child_process'
import { pbkdf2 } from 'node:crypto'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { QmpLine } from '../../../src/hypervisor/qemu/qmp-line.js'
import { watchScratch } from '../../../src/hypervisor/qemu/watch-scratch.js'
import { backedUpDisk, differenceFrom, machineScene } from '../../support/machine-scene.js'
import { bitmapsOf, leftoversOf, rawOf } from '../../support/qemu.js'
import { MiB } from '../../support/volumes.js'

const derive = promisify(pbkdf2)

/** A file system of so many bytes. */
function small(t: Test, parent: string, bytes: number): string {
  const folder = join(parent, 'small')
  mkdirSync(folder)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder])
  t.teardown(() => execFileSync('umount', ['-l', folder]))
  return folder
}

t.test('a folder without room for the whole disk is refused before anything is frozen', async t => {
  const { machine, repository } = await machineScene(t)
  const scratch = small(t, machine.scratch, 8 * MiB)
  await t.rejects(backedUpDisk(machine, { repository, options: { scratch } }), {
    code: 'HYPERVISOR_FAILED',
    message: /No space left on device/,
    remedy: /--scratch-bytes/,
  })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [])
  t.strictSame(await leftoversOf(machine.qmp), [])
  t.strictSame(readdirSync(scratch), [])
})

t.test('a folder that is not there, or too deep for a socket', async t => {
  const { machine, repository, dir } = await machineScene(t)
  const tooDeep = join(dir, 'x'.repeat(100))
  mkdirSync(tooDeep)
  const rows = [
    { scratch: join(dir, 'none'), code: 'HYPERVISOR_FAILED' },
    { scratch: tooDeep, code: 'ARGUMENT_INVALID' },
  ]
  for (const { scratch, code } of rows) {
    await t.rejects(backedUpDisk(machine, { repository, options: { scratch } }), { code })
  }
  t.strictSame(readdirSync(tooDeep), [])
})

t.test('less room than the disk has: the backup is given up before the guest is hurt', async t => {
  const { machine, repository, image } = await machineScene(t)
  const scratch = small(t, machine.scratch, 10 * MiB)
  const options = { scratch, scratchBytes: 8 * MiB }
  await machine.guest('disk0', 'write -P 8 0 16M')
  const full = await backedUpDisk(machine, { repository, options })
  await machine.guest('disk0', 'write -P 0x11 1M 64k')
  const meanwhile = async () => {
    for (let at = 0; at < 7; at += 1) await machine.guest('disk0', `write -P 9 ${at}M 1M`)
    await sleep(600)
  }
  await t.rejects(backedUpDisk(machine, { repository, options, meanwhile }), {
    code: 'SOURCE_FAILED',
    retryable: true,
    message: /for the guest's sake/,
  })
  t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${full.checkpoint}+`])
  t.strictSame(await leftoversOf(machine.qmp), [])
  await machine.guest('disk0', 'write -P 0x12 0 16M', 'flush')
  const result = await backedUpDisk(machine, { repository, options })
  t.match(result, { mode: 'incremental' })
  t.equal(await differenceFrom(image, { repository, result }), '')
})

/** What reads the source has them for seconds; four of them are all. */
t.test('a scratch file is looked at though all threads of libuv are taken', async t => {
  const { machine } = await machineScene(t)
  const folder = small(t, machine.scratch, MiB)
  await machine.guest('disk0', 'write -P 8 0 8M')
  const taken = Array.from({ length: 4 }, () => derive('', '', 2_000_000, 64, 'sha512'))
  const room = { file: 'disk0', volumeBytes: 16 * MiB, reservedBytes: 8 * MiB }
  const line = { client: async () => machine.qmp } as unknown as QmpLine
  const begunMs = performance.now()
  const shortMs = await new Promise<number>(resolve => {
    const onShort = () => {
      resolve(performance.now() - begunMs)
    }
    const watch = watchScratch({ line, folder, rooms: [room], onShort })
    t.teardown(() => watch?.[Symbol.dispose]())
  })
  await Promise.all(taken)
  const takenMs = performance.now() - begunMs
  t.ok(shortMs < takenMs / 2, `seen after ${shortMs} ms, the threads were taken for ${takenMs} ms`)
})

t.test(
  'a guest that is faster than that fails a write of its own, and no byte is wrong',
  async t => {
    const { dir, machine, repository, image } = await machineScene(t)
    const before = join(dir, 'before')
    await machine.guest('disk0', 'write -P 8 0 16M', 'flush')
    rawOf(image, before)
    const scratch = small(t, machine.scratch, 4 * MiB)
    const options = { scratch, scratchBytes: 2 * MiB }
    const meanwhile = async () => {
      const writes = Array.from({ length: 16 }, (_, at) => `write -P 9 ${at}M 1M`)
      await machine.guest('disk0', ...writes).catch(() => {})
    }
    const attempt = backedUpDisk(machine, { repository, options, meanwhile })
    const outcome = await attempt.catch((error: { code: string }) => error.code)
    if (typeof outcome === 'string') t.equal(outcome, 'SOURCE_FAILED')
    else t.equal(await differenceFrom(before, { repository, result: outcome, format: 'raw' }), '')
    t.strictSame(await leftoversOf(machine.qmp), [])
    await machine.guest('disk0', 'write -P 0x12 3M 1M', 'flush')
    const result = await backedUpDisk(machine, { repository })
    t.equal(await differenceFrom(image, { repository, result }), '')
  },
)
