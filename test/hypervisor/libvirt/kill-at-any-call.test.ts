/**
 * mover is killed before, and after, each of its calls of libvirt. Whatever is left then, the next run
 * needs no help, reads since the right checkpoint, and leaves nothing.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PacketCutter } from '../../../src/hypervisor/libvirt/packet.js'
import {
  defineDomain,
  domainXml,
  guestIo,
  makeImage,
  startLibvirtd,
} from '../../support/libvirtd.js'
import { makeRepository, restored } from '../../support/repository.js'
import { moverScript, runMoverJson } from '../../support/run-mover.js'

// Many domains are started one after the other, on a machine that may be busy.
t.setTimeout(900_000)

/** Stands between mover and libvirt, counts calls, and tells of each before it goes on. */
interface Proxy {
  /** The nth call, from 0, is about to be made, or was answered. */
  onCall: (n: number, when: 'before' | 'after') => void
  calls: number
}

async function proxyTo(t: Test, socket: string, path: string): Promise<Proxy> {
  const proxy: Proxy = { onCall: () => {}, calls: 0 }
  const server = createServer(client => {
    const upstream = connect(socket)
    const cutter = new PacketCutter()
    let answered = 0
    const outgoing = new PacketCutter()
    client.on('data', piece => {
      for (const { type } of cutter.add(piece)) {
        if (type === 0) proxy.onCall(proxy.calls++, 'before')
      }
      upstream.write(piece)
    })
    upstream.on('data', piece => {
      for (const { type } of outgoing.add(piece)) if (type === 1) proxy.onCall(answered++, 'after')
      client.write(piece)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
  }).listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return proxy
}

/** Runs mover until the proxy kills it; whether it did. */
async function killedAt(
  proxy: Proxy,
  { n, when, words }: { n: number; when: 'before' | 'after'; words: readonly string[] },
): Promise<boolean> {
  proxy.calls = 0
  const child: ChildProcess = spawn(process.execPath, [moverScript, ...words], { stdio: 'ignore' })
  proxy.onCall = (at, moment) => {
    if (at === n && moment === when) child.kill('SIGKILL')
  }
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  proxy.onCall = () => {}
  return signal === 'SIGKILL'
}

t.test('a kill at any call of libvirt leaves nothing that the next run does not clear', async t => {
  const libvirtd = await startLibvirtd(t)
  const { folder, socket } = libvirtd
  const [scratch, repository, proxySocket] = ['s', 'repository', 'p'].map(name =>
    join(folder, name),
  )
  if (scratch === undefined || repository === undefined || proxySocket === undefined)
    throw new Error()
  mkdirSync(scratch)
  const image = join(folder, 'vda.qcow2')
  await makeImage(image, '8M')
  await defineDomain(libvirtd, domainXml('vm', [{ target: 'vda', path: image }]))
  const opened = await makeRepository(t, repository)
  const proxy = await proxyTo(t, socket, proxySocket)
  const words = (through: string) => [
    ...['backup', `libvirt:vm/vda?socket=${through}`, '--volume', 'vm', '--scratch', scratch],
    ...['--repo', repository, '--json'],
  ]
  const full = await runMoverJson(words(proxySocket))
  t.equal(full.code, 0, full.stderr)
  const calls = proxy.calls
  t.ok(calls > 15, `${calls} calls`)

  for (let n = 0; n < calls; n += 1) {
    const when = n % 2 === 0 ? 'before' : 'after'
    await guestIo(libvirtd, 'vm', `write -P ${n + 1} ${n * 128}k 64k`)
    const wasKilled = await killedAt(proxy, { n, when, words: words(proxySocket) })
    await guestIo(libvirtd, 'vm', `write -P ${n + 1} ${n * 128 + 64}k 64k`)
    const next = await runMoverJson(words(socket))
    t.match(
      next,
      { code: 0, result: { disks: [{ mode: 'incremental', reason: null }] } },
      next.stderr,
    )
    const target = join(folder, 'restored')
    await restored({ repository: opened, manifest: 'vm@latest', target, force: ['exists'] })
    const formats = ['-f', 'raw', '-F', 'qcow2']
    execFileSync('qemu-img', ['compare', '-q', '-U', ...formats, target, image])
    const checkpoints = (await libvirtd.virsh('checkpoint-list', 'vm', '--name')).split('\n')
    t.strictSame([readdirSync(scratch).length, checkpoints.length], [0, 1])
    t.equal(await libvirtd.virsh('domjobinfo', 'vm'), 'Job type:         None')
    t.pass(`${wasKilled ? 'killed' : 'ran through'} ${when} call ${n}`)
  }
})
