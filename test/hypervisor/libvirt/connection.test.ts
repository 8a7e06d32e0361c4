/** The connection against servers that are no libvirt: what is torn, too long, late or never comes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LibvirtConnection } from '../../../src/hypervisor/libvirt/connection.js'
import { encodePacket, PacketCutter, type Packet } from '../../../src/hypervisor/libvirt/packet.js'
import { XdrWriter } from '../../../src/hypervisor/libvirt/xdr.js'
import { randomBytes, randomInteger, seededRandom } from '../../support/random.js'

type Answer = (call: Packet, socket: Socket) => void

/** A server that answers as it is told, on a socket of its own. */
async function serve(t: Test, answer: Answer): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'lv-'))
  const path = join(folder, 'socket')
  const sockets = new Set<Socket>()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    const cutter = new PacketCutter()
    socket.on('data', piece => {
      for (const call of cutter.add(piece)) answer(call, socket)
    })
  }).listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    rmSync(folder, { recursive: true })
  })
  return path
}

const AUTH_LIST = 66
const noAuthentication = new XdrWriter().uint(0).bytes()

/** Answers a call well: nothing to authenticate, and nothing to say. */
const good: Answer = (call, socket) => {
  const body = call.procedure === AUTH_LIST ? noAuthentication : Buffer.alloc(0)
  socket.write(encodePacket({ ...call, type: 1, body }))
}

const ask = (connection: LibvirtConnection) =>
  connection.call({ procedure: 'connectGetLibVersion', doing: 'ask' })

t.test('answers are told apart, whatever their order and pieces', async t => {
  const kept: Packet[] = []
  const path = await serve(t, (call, socket) => {
    if (call.procedure !== 157) return good(call, socket)
    kept.push(call)
    if (kept.length < 3) return
    // Something that was not asked for, then the answers from the last to the first, byte by byte.
    const event = encodePacket({ ...call, type: 2, serial: 0, body: Buffer.alloc(8) })
    const unknown = encodePacket({ ...call, type: 1, serial: 99, body: Buffer.alloc(8) })
    const answers = kept.toReversed().map(one => {
      const body = new XdrWriter().uint(0).uint(one.serial).bytes()
      return encodePacket({ ...one, type: 1, body })
    })
    for (const byte of Buffer.concat([event, unknown, ...answers])) socket.write(Buffer.of(byte))
  })
  await using connection = await LibvirtConnection.open([path])
  const answers = await Promise.all([ask(connection), ask(connection), ask(connection)])
  const [first = 0, ...others] = answers.map(answer => answer.ulong())
  t.strictSame(others, [first + 1, first + 2])
})

t.test('what is no answer of libvirt ends the connection with an error', async t => {
  const rows: readonly (readonly [string, Buffer])[] = [
    ['a length that is too small', Buffer.from('0000000400000000', 'hex')],
    ['a length beyond 32 MiB', Buffer.from('0200000500000000', 'hex')],
    ['another protocol', Buffer.from('NBDMAGICIHAVEOPT')],
  ]
  for (const [what, bytes] of rows) {
    const path = await serve(t, (call, socket) => {
      if (call.procedure === 157) socket.write(bytes)
      else good(call, socket)
    })
    await using connection = await LibvirtConnection.open([path])
    await t.rejects(ask(connection), { code: 'HYPERVISOR_FAILED' }, what)
    await t.rejects(ask(connection), { code: 'HYPERVISOR_FAILED' }, 'and of the next call')
  }
})

t.test('a lost connection fails all that waits', async t => {
  const path = await serve(t, (call, socket) => {
    if (call.procedure === 157) socket.destroy()
    else good(call, socket)
  })
  await using connection = await LibvirtConnection.open([path])
  const waiting = [ask(connection), ask(connection)]
  for (const one of waiting) {
    await t.rejects(one, { code: 'HYPERVISOR_FAILED', retryable: true, message: /lost/ })
  }
})

t.test('whoever waits may stop waiting', async t => {
  const path = await serve(t, (call, socket) => {
    if (call.procedure !== 157) good(call, socket)
  })
  await using connection = await LibvirtConnection.open([path])
  const controller = new AbortController()
  const { signal } = controller
  const waiting = connection.call({ procedure: 'connectGetLibVersion', doing: 'ask', signal })
  controller.abort()
  await t.rejects(waiting, { code: 'CANCELLED' })
})

t.test('10,000 answers of noise, seed 7, are errors or values', async t => {
  const random = seededRandom(7)
  const below = (end: number) => randomInteger(random, { from: 0, to: end - 1 })
  const path = await serve(t, (call, socket) => {
    if (call.procedure !== 157) return good(call, socket)
    const status = below(3)
    socket.write(
      encodePacket({ ...call, type: 1, status, body: Buffer.from(randomBytes(random, below(64))) }),
    )
  })
  await using connection = await LibvirtConnection.open([path])
  for (let round = 0; round < 10_000; round += 1) {
    try {
      ;(await ask(connection)).array(8, reader => reader.string())
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'MoverError') t.fail(String(error))
    }
  }
  t.pass('and none of them hangs')
})
