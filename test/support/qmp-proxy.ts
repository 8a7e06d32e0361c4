/** A QMP socket that passes all on to another, and looks at each command that changes something. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

export interface QmpProxy {
  readonly socket: string
  /** Awaited before a command is passed on; false drops it, and all that comes after it. */
  before: (command: string) => Promise<boolean>
  /** Awaited when QEMU has answered, and before the client hears of it. */
  after: (command: string) => Promise<boolean>
}

/** Serves one client at a time, as a monitor does. */
export async function qmpProxy(t: Test, real: string): Promise<QmpProxy> {
  const socket = `${real}-proxy`
  const proxy: QmpProxy = { socket, before: async () => true, after: async () => true }
  const server = createServer(client => void serve(client, real, proxy))
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    rmSync(socket, { force: true })
  })
  return proxy
}

async function serve(client: Socket, real: string, proxy: QmpProxy): Promise<void> {
  const qemu = connect(real)
  const asked: string[] = []
  const end = () => {
    client.destroy()
    qemu.destroy()
  }
  for (const socket of [client, qemu]) socket.on('error', end).on('close', end)
  const toQemu = async () => {
    for await (const line of createInterface({ input: client })) {
      const { execute } = JSON.parse(line) as { execute: string }
      asked.push(execute)
      if (!execute.startsWith('query-') && !(await proxy.before(execute))) return end()
      qemu.write(`${line}\n`)
    }
  }
  const toClient = async () => {
    for await (const line of createInterface({ input: qemu })) {
      const isAnswer = /^\{"(return|error)"/.test(line)
      const command = isAnswer ? (asked.shift() ?? '') : 'query-'
      if (!command.startsWith('query-') && !(await proxy.after(command))) return end()
      client.write(`${line}\n`)
    }
  }
  await Promise.all([toQemu(), toClient()]).catch(end)
}
