import t from 'tap'
import {
  decodeSession,
  encodeSession,
  isJudgedByLock,
  whereWeAre,
} from '../../src/store/session-record.js'
import type { SessionRecord } from '../../src/store/session-record.js'
import { matchGolden } from '../support/golden.js'

const RECORD: SessionRecord = {
  host: 'h',
  bootId: 'b',
  pid: 7,
  kind: 'read',
  startedMs: 1000,
  deadlineMs: 2000,
  pruneEpoch: 0,
  parent: 'ab'.repeat(32),
}

t.test('a session file is written as FORMAT.md says', async t => {
  await matchGolden(t, 'session', encodeSession(RECORD))
})

t.test('a session file comes back, and is refused with any field that means nothing', async t => {
  t.strictSame(decodeSession(encodeSession(RECORD)), RECORD)
  const rows = [
    { host: 7 },
    { bootId: 7 },
    { pid: 1.5 },
    { kind: 'prune' },
    { startedMs: 'now' },
    { deadlineMs: null },
    { pruneEpoch: 1 },
    { parent: 'ab' },
  ]
  for (const spoiled of rows) {
    const bytes = encodeSession({ ...RECORD, ...spoiled } as unknown as SessionRecord)
    t.throws(() => decodeSession(bytes), { code: 'BACKEND_FAILED' }, JSON.stringify(spoiled))
  }
  t.throws(() => decodeSession(encodeSession([] as unknown as SessionRecord)), {
    code: 'BACKEND_FAILED',
  })
})

t.test('without boot ids, the host must be the same', async t => {
  const here = { host: 'h', bootId: null, bootedMs: 0 }
  const asked = (record: Partial<SessionRecord>, nowMs = 1500): boolean =>
    isJudgedByLock({ ...RECORD, bootId: null, ...record }, here, nowMs)
  t.equal(asked({}), true)
  t.equal(asked({ host: 'other' }), false)
  t.equal(asked({ host: 'other' }, 2001), true, 'overdue')
  t.equal(asked({ bootId: 'b' }), false)
})

t.test('this machine says the same of itself twice', async t => {
  const [one, two] = [await whereWeAre(), await whereWeAre()]
  t.match(two, { host: one.host, bootId: one.bootId })
  t.ok(Math.abs(one.bootedMs - two.bootedMs) < 2000)
})
