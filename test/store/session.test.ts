import {
  chmod,
  link,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { LocalBackend } from '../../src/backend/local-backend.js'
import { MemoryBackend } from '../../src/backend/memory-backend.js'
import { decodeSession, encodeSession, whereWeAre } from '../../src/store/session-record.js'
import type { SessionRecord } from '../../src/store/session-record.js'
import { beginSession } from '../../src/store/session.js'
import { gather } from '../support/gather.js'
import { startOtherProcess } from '../support/sessions.js'

const WRITE = { kind: 'write', parent: null } as const
const READ = { kind: 'read', parent: null } as const
const STRANGER = '5a'.repeat(16)
const HOUR_MS = 3_600_000

async function opened(t: Test) {
  const backend = await LocalBackend.create(join(t.testdir(), 'repository'))
  const files = async (folder: string) => (await readdir(join(backend.localRoot, folder))).sort()
  return { backend, files, path: (name: string) => join(backend.localRoot, name) }
}

t.test('a session is visible while it lives, and says who it is', async t => {
  const { backend, files, path } = await opened(t)
  const parent = 'ab'.repeat(32)
  const session = await beginSession(backend, { kind: 'write', parent })
  t.match(session.id, /^[0-9a-f]{32}$/)
  t.strictSame(await files('sessions'), [session.id])
  t.strictSame(await files('tmp'), [])
  t.equal((await stat(path(`sessions/${session.id}`))).mode % 0o1000, 0o600)
  const record = decodeSession(await readFile(path(`sessions/${session.id}`)))
  const here = await whereWeAre()
  t.match(record, {
    host: hostname(),
    bootId: here.bootId,
    pid: process.pid,
    kind: 'write',
    parent,
  })
  t.ok(record.deadlineMs > record.startedMs + 24 * HOUR_MS)
  t.equal(session.hidden, null)
  await session.end()
  t.strictSame(await files('sessions'), [])
})

t.test('a session takes its temporary files with it, and no others', async t => {
  const { backend, files, path } = await opened(t)
  {
    await using session = await beginSession(backend, WRITE)
    await writeFile(`${session.tempPrefix}pack-1`, 'unused')
    await writeFile(`${session.tempPrefix}1.segment`, 'unused')
    await writeFile(path(`tmp/${STRANGER}.pack`), 'of somebody else')
    t.equal((await files('tmp')).length, 3)
  }
  t.strictSame(await files('tmp'), [`${STRANGER}.pack`])
  t.strictSame(await files('sessions'), [])
})

t.test('the session of a killed process is swept, with what it left', async t => {
  const { backend, files } = await opened(t)
  const other = await startOtherProcess(backend.localRoot)
  t.teardown(() => other.child.kill('SIGKILL'))
  {
    await using session = await beginSession(backend, READ)
    t.strictSame(session.swept, { ended: [], failures: [] }, 'it lives')
    t.strictSame(await files('sessions'), [other.sessionId, session.id].sort())
    t.strictSame(await files('tmp'), [`${other.sessionId}.pack-1`])
  }
  await other.kill()
  t.strictSame(await files('sessions'), [other.sessionId], 'a kill leaves its session')
  await using session = await beginSession(backend, WRITE)
  t.strictSame(session.swept, { ended: [other.sessionId], failures: [] })
  t.strictSame(await files('sessions'), [session.id])
  t.strictSame(await files('tmp'), [])
})

t.test('sessions of one process at once do not touch each other', async t => {
  const { backend, files } = await opened(t)
  const sessions = await Promise.all(Array.from({ length: 12 }, () => beginSession(backend, WRITE)))
  for (const { tempPrefix } of sessions) await writeFile(`${tempPrefix}pack`, 'in the making')
  await (await beginSession(backend, READ)).end()
  t.strictSame(await files('sessions'), sessions.map(({ id }) => id).sort())
  t.equal((await files('tmp')).length, 12)
  for (const { swept } of sessions) t.strictSame(swept, { ended: [], failures: [] })
  await Promise.all(sessions.map(session => session.end()))
  t.strictSame([await files('sessions'), await files('tmp')], [[], []])
})

t.test('a session that nobody holds is judged by where and when it began', async t => {
  const here = await whereWeAre()
  const now = Date.now()
  const elsewhere = { host: 'elsewhere', bootId: 'another boot' }
  const rows: { name: string; record: Partial<SessionRecord>; isSwept: boolean }[] = [
    { name: 'of this boot', record: {}, isSwept: true },
    { name: 'of another container on this kernel', record: { host: 'pod-7' }, isSwept: true },
    {
      name: 'of an earlier boot of this host',
      record: { bootId: 'earlier', startedMs: Math.floor(here.bootedMs) - HOUR_MS },
      isSwept: true,
    },
    {
      name: 'of another host with the same name, since we booted',
      record: { bootId: 'another', startedMs: now },
      isSwept: false,
    },
    { name: 'of another host, before its deadline', record: elsewhere, isSwept: false },
    {
      name: 'of another host, after its deadline',
      record: { ...elsewhere, startedMs: now - 2 * HOUR_MS, deadlineMs: now - HOUR_MS },
      isSwept: true,
    },
  ]
  for (const { name, record, isSwept } of rows) {
    await t.test(name, async t => {
      const { backend, files, path } = await opened(t)
      const bytes = encodeSession({ ...recordOf(here), ...record })
      await writeFile(path(`sessions/${STRANGER}`), bytes)
      await writeFile(path(`tmp/${STRANGER}.pack`), 'x')
      await using session = await beginSession(backend, WRITE)
      t.strictSame(session.swept.ended, isSwept ? [STRANGER] : [])
      t.strictSame(await files('tmp'), isSwept ? [] : [`${STRANGER}.pack`])
      t.equal((await files('sessions')).includes(STRANGER), !isSwept)
    })
  }
})

t.test(
  'temporary files without a session go when they are old, unless somebody holds them',
  async t => {
    const { backend, files, path } = await opened(t)
    const live = await beginSession(backend, WRITE)
    const age = async (name: string, ageMs: number): Promise<void> => {
      const time = new Date(Date.now() - ageMs)
      await utimes(path(name), time, time)
    }
    const old = `${'0a'.repeat(16)}.pack`
    const fresh = `${'0b'.repeat(16)}.pack`
    const held = `${'0c'.repeat(16)}.session`
    await writeFile(path(`tmp/${old}`), 'x')
    await writeFile(path(`tmp/${fresh}`), 'x')
    // A session file in the making: locked before it is linked under its name.
    await link(path(`sessions/${live.id}`), path(`tmp/${held}`))
    await writeFile(path('tmp/README'), 'no name of ours')
    for (const name of [old, held, 'README']) await age(`tmp/${name}`, 2 * HOUR_MS)
    await (await beginSession(backend, WRITE)).end()
    t.strictSame(await files('tmp'), [fresh, held, 'README'].sort())
    await live.end()
  },
)

t.test('a session file that cannot be read is left, and told of', async t => {
  const { backend, files, path } = await opened(t)
  const good = encodeSession(recordOf(await whereWeAre()))
  const rows = { empty: Buffer.alloc(0), cut: good.subarray(0, -1), other: Buffer.alloc(200, 7) }
  for (const [name, bytes] of Object.entries(rows)) {
    await writeFile(path(`sessions/${STRANGER}`), bytes)
    await using session = await beginSession(backend, WRITE)
    t.match(session.swept, { ended: [], failures: [{ code: 'BACKEND_FAILED' }] }, name)
    t.equal((await files('sessions')).includes(STRANGER), true)
  }
  await truncate(path(`sessions/${STRANGER}`), 2 ** 40)
  await using session = await beginSession(backend, WRITE)
  t.match(session.swept.failures, [{ code: 'BACKEND_FAILED', message: /bytes/ }], 'one of a TiB')
})

t.test('a repository that cannot be written can still be read, and says why', async t => {
  const { backend, path } = await opened(t)
  for (const folder of ['.', 'sessions', 'tmp']) await chmod(path(folder), 0o555)
  await asNobody(async () => {
    await using session = await beginSession(backend, READ)
    t.match(session.hidden, { code: 'BACKEND_FAILED', remedy: /right/ })
    await t.rejects(beginSession(backend, WRITE), { code: 'BACKEND_FAILED' })
  })
  for (const folder of ['.', 'sessions', 'tmp']) await chmod(path(folder), 0o755)
})

t.test('a lost folder is no read-only repository', async t => {
  const { backend, path } = await opened(t)
  await rm(path('tmp'), { recursive: true })
  await t.rejects(beginSession(backend, READ), { code: 'BACKEND_FAILED', remedy: /mounted/ })
})

t.test('a backend without files keeps a session as an object', async t => {
  const backend = new MemoryBackend()
  const session = await beginSession(backend, READ)
  t.match(await gather(backend.list('sessions/')), [{ name: `sessions/${session.id}` }])
  await session.end()
  await session.end()
  t.strictSame(await gather(backend.list('sessions/')), [])
})

t.test('a session is not begun when aborted', async t => {
  const { backend, files } = await opened(t)
  await t.rejects(beginSession(backend, { ...WRITE, signal: AbortSignal.abort() }), {
    code: 'CANCELLED',
  })
  t.strictSame(await files('sessions'), [])
})

function recordOf(here: { host: string; bootId: string | null }): SessionRecord {
  const startedMs = Date.now()
  return {
    host: here.host,
    bootId: here.bootId,
    pid: 1,
    kind: 'write',
    startedMs,
    deadlineMs: startedMs + HOUR_MS,
    pruneEpoch: 0,
    parent: null,
  }
}

/** Runs something without the rights of root, which no permission stops. */
async function asNobody(act: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0
  if (isRoot) process.seteuid?.(65_534)
  try {
    await act()
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
}
