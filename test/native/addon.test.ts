import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import { loadAddon, native, toMoverError } from '../../src/native/addon.js'
import { packageVersion } from '../../src/native/installed.js'

const failed = (failure: object): Error => new Error(`MOVER:${JSON.stringify(failure)}`)

t.test("the addon's errors get their codes", async t => {
  const error = toMoverError(
    failed({ code: 'SOURCE_FAILED', message: 'cannot read', offset: 512, path: '/d', os: 'EIO' }),
    'read',
  )
  t.match(error, {
    code: 'SOURCE_FAILED',
    message: 'cannot read',
    stage: 'read',
    offset: 512,
    details: { path: '/d', os: 'EIO' },
  })
  t.match(error.cause, { message: /^MOVER:/ })
})

t.test('what has no code is a bug, and what has one keeps it', async t => {
  const bare = { offset: null, path: null, os: null, message: 'x' }
  const rows = [new Error('napi: no'), 'text', null, failed({ code: 'NO_SUCH_CODE', ...bare })]
  for (const error of rows) t.match(toMoverError(error), { code: 'INTERNAL', stage: null })
  const known = new MoverError('PACK_CORRUPT', 'as it was')
  t.equal(toMoverError(known, 'read'), known)
})

t.test('what a native call throws or rejects with is a MoverError of its stage', async t => {
  const failure = failed({ code: 'TARGET_FULL', message: 'x', offset: 0, path: null, os: 'ENOSPC' })
  const expected = { name: 'MoverError', code: 'TARGET_FULL', stage: 'write', offset: 0 }
  const thrown = (): never => {
    throw failure
  }
  t.throws(() => native(thrown, 'write'), expected)
  await t.rejects(
    native(() => Promise.reject(failure), 'write'),
    expected,
  )
  t.equal(
    native(() => 7),
    7,
  )
  t.equal(await native(async () => 7), 7)
})

t.test('the addon is the one of this package, and loaded once', async t => {
  t.match(packageVersion(), /^[0-9]+\.[0-9]+\.[0-9]+/)
  t.equal(loadAddon().version(), packageVersion())
  t.equal(loadAddon(), loadAddon())
})

t.test('a real failure of the addon has a code', async t => {
  t.throws(() => native(addon => addon.openSource('/no/such/file', false), 'open'), {
    name: 'MoverError',
    code: 'SOURCE_UNUSABLE',
    stage: 'open',
  })
})
