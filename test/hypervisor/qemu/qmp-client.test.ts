import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { QmpClient, type QmpEvent } from '../../../src/hypervisor/qemu/qmp-client.js'
import { socketPath } from '../../support/nbd-servers.js'
import { startMachine } from '../../support/qemu.js'

const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n'
const EMPTY = '{"return": {}}\r\n'

/** A server that says what a test wants said: it greets unless `talk` does it. */
async function server(t: Test, talk: (socket: Socket, line: string) => void, greeting = GREETING) {
  const path = socketPath(t)
  const listening = createServer(socket => {
    socket.on('error', () => {})
    socket.write(greeting)
    socket.on('data', data => talk(socket, data.toString()))
    t.teardown(() => socket.destroy())
  })
  listening.listen(path)
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  return path
}

t.test('QEMU answers, refuses in its own words, and tells of events', async t => {
  const { socket } = await startMachine(t, [])
  const events: QmpEvent[] = []
  await using qmp = await QmpClient.open(socket, { onEvent: event => events.push(event) })
  t.match(await qmp.execute('query-version'), { qemu: { major: Number } })
  await t.rejects(qmp.execute('no-such-command'), {
    code: 'HYPERVISOR_FAILED',
    message: /no-such-command/,
    details: { class: 'CommandNotFound' },
  })
  t.strictSame(await qmp.execute('query-jobs'), [], 'an error is no end of the connection')
  await qmp.execute('cont')
  while (events.length === 0) await sleep(10)
  t.match(events[0], { event: 'RESUME' })
})

t.test('a monitor that another client has does not greet', async t => {
  const { socket } = await startMachine(t, [])
  await using _first = await QmpClient.open(socket)
  await t.rejects(QmpClient.open(socket, { timeoutMs: 200 }), {
    code: 'HYPERVISOR_REFUSED',
    retryable: true,
    remedy: /one client at a time/,
  })
})

t.test('servers that are none, and such as break off, end in an error', async t => {
  const rows: [name: string, greeting: string, answer: string, message: RegExp][] = [
    ['noise', 'SSH-2.0-OpenSSH\r\n', '', /does not speak QMP/],
    ['JSON of something else', '{"hello": 1}\n', '', /does not speak QMP/],
    ['a list', '[]\n', '', /does not speak QMP/],
    ['an answer to nothing', `${GREETING}${EMPTY}${EMPTY}`, EMPTY, /nobody asked/],
    ['an answer of nonsense', GREETING, '{"return" 1}\n', /does not speak QMP/],
    ['an error that is none', GREETING, '{"error": null}\n', /does not speak QMP/],
  ]
  for (const [name, greeting, answer, message] of rows) {
    const path = await server(t, socket => socket.write(answer), greeting)
    const talking = async () => {
      await using qmp = await QmpClient.open(path, { timeoutMs: 2000 })
      await qmp.execute('query-jobs')
      await sleep(20)
      await qmp.execute('query-jobs')
    }
    await t.rejects(talking(), { code: 'HYPERVISOR_FAILED', message }, name)
  }
  const silent = await server(t, () => {})
  await t.rejects(QmpClient.open(silent, { timeoutMs: 50 }), { message: /did not answer/ })
  const leaving = await server(t, socket => socket.end())
  await t.rejects(QmpClient.open(leaving), { code: 'HYPERVISOR_FAILED', message: /closed/ })
  await t.rejects(QmpClient.open(socketPath(t)), { code: 'HYPERVISOR_FAILED', message: /ENOENT/ })
})

t.test('a line without an end takes no more memory than its bound', async t => {
  const piece = Buffer.alloc(8 * 1024 * 1024, 'x')
  const path = await server(t, socket => {
    for (let at = 0; at < 10; at += 1) socket.write(piece)
  })
  await t.rejects(QmpClient.open(path), { message: /line without an end/ })
})

t.test('lines come in any pieces', async t => {
  const bytes = Buffer.from(`{"event": "X"}\n{"return": "ä"}\n`)
  const dribble = async (socket: Socket) => {
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]))
      await sleep(1)
    }
  }
  const path = await server(t, (socket, line) => {
    if (line.includes('capabilities')) socket.write(EMPTY)
    else void dribble(socket)
  })
  await using qmp = await QmpClient.open(path)
  t.equal(await qmp.execute('query-name'), 'ä')
})

t.test('a cancel ends what waits', async t => {
  const path = await server(t, (socket, line) => {
    if (line.includes('capabilities')) socket.write(EMPTY)
  })
  await using qmp = await QmpClient.open(path)
  const controller = new AbortController()
  const waiting = qmp.execute('query-jobs', {}, { signal: controller.signal })
  controller.abort()
  await t.rejects(waiting, { code: 'CANCELLED' })
  t.equal(qmp.isOpen, false)
})
