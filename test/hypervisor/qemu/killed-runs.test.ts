/**
 * mover killed with SIGKILL before each command that changes something in QEMU, and after each one
 * before it hears the answer. The next run has to leave nothing behind, lose nothing, and store the
 * right bytes, by reading no more than what changed.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeRepository, restored } from '../../support/repository.js'
import { qmpProxy } from '../../support/qmp-proxy.js'
import { bitmapsOf, leftoversOf, rawOf, startMachine } from '../../support/qemu.js'
import { moverScript, runMoverJson } from '../../support/run-mover.js'
import { cmp, makeVolume, MiB } from '../../support/volumes.js'

const VOLUME = 'vm-42/sda'

async function scene(t: Test) {
  const dir = t.testdir({})
  const [raw, image] = [join(dir, 'raw'), join(dir, 'disk.qcow2')]
  await makeVolume(raw, { bytes: 4 * MiB, seed: 8 })
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, image])
  const machine = await startMachine(t, [{ node: 'disk0', file: image }])
  const proxy = await qmpProxy(t, machine.socket)
  const repository = await makeRepository(t, join(dir, 'repo'))
  const args = [
    ...['backup', `qmp:${proxy.socket}/disk0`, '--volume', VOLUME],
    ...['--scratch', machine.scratch, '--repo', repository.path, '--json'],
  ]
  return { dir, image, machine, proxy, repository, args }
}

async function killed(child: ChildProcess): Promise<boolean> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return false
}

t.test('a kill at any command', async t => {
  const { dir, image, machine, proxy, repository, args } = await scene(t)
  const commands: string[] = []
  t.match(await runMoverJson(args), { code: 0, error: null }, 'a first, full backup')
  proxy.before = async command => commands.push(command) > 0
  t.match(await runMoverJson(args), { result: { disks: [{ mode: 'incremental' }] } })
  t.match(commands.join(' '), /nbd-server-start (transaction )+block-export-add block-export-del/)

  const target = join(dir, 'restored')
  const expected = join(dir, 'expected')
  const points = [...commands.keys()].flatMap(at => [
    { at, moment: 'before' as const },
    { at, moment: 'after' as const },
  ])
  let writes = 0
  const writeSomewhere = () => {
    writes += 1
    const at = (writes * 7) % 64
    return machine.guest('disk0', `write -P ${1 + (writes % 250)} ${at * 64}k 4k`, 'flush')
  }
  for (const { at, moment } of points) {
    await t.test(`${moment} ${commands[at]}, command ${at}`, async t => {
      await writeSomewhere()
      proxy.before = proxy.after = async () => true
      const child = spawn(process.execPath, [moverScript, ...args], { stdio: 'ignore' })
      let count = -1
      const isIt = () => (moment === 'before' ? (count += 1) : count) === at
      if (moment === 'after') proxy.before = async () => (count += 1) >= 0
      proxy[moment] = async () => (isIt() ? killed(child) : true)
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      t.equal(child.signalCode, 'SIGKILL')
      proxy.before = proxy.after = async () => true

      await writeSomewhere()
      rawOf(image, expected)
      const next = await runMoverJson(args)
      const [disk] = (next.result?.['disks'] ?? []) as { manifest: string; checkpoint: string }[]
      t.match(next, { code: 0, result: { disks: [{ mode: 'incremental', reason: null }] } })
      execFileSync('rm', ['-f', target])
      await restored({ repository, manifest: disk?.manifest ?? '', target })
      t.equal(await cmp(target, expected), '', 'the bytes of the moment of the backup')
      t.strictSame(await bitmapsOf(machine.qmp, 'disk0'), [`${disk?.checkpoint}+`])
      t.strictSame(await leftoversOf(machine.qmp), [])
      t.strictSame(readdirSync(machine.scratch).sort(), ['own', 'qmp', 'qmp-proxy'])
    })
  }
})
