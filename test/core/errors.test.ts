import t from 'tap'
import {
  errorKind,
  isMoverErrorCode,
  MoverError,
  type MoverErrorCode,
} from '../../src/core/errors.js'

t.test('an error keeps what it was given and says nothing it does not know', async t => {
  const cause = new Error('EIO')
  const error = new MoverError('SOURCE_FAILED', 'cannot read', {
    stage: 'read',
    retryable: true,
    offset: 4096,
    remedy: 'check the cable',
    details: { path: '/dev/sda' },
    cause,
  })
  t.match(error, {
    name: 'MoverError',
    code: 'SOURCE_FAILED',
    message: 'cannot read',
    stage: 'read',
    retryable: true,
    offset: 4096,
    remedy: 'check the cable',
    details: { path: '/dev/sda' },
  })
  t.equal(error.cause, cause)

  const bare = new MoverError('INTERNAL', 'oops')
  t.strictSame(
    [bare.stage, bare.retryable, bare.offset, bare.remedy, bare.details, 'cause' in bare],
    [null, false, null, null, null, false],
  )
  t.ok(bare instanceof Error)
})

t.test('every kind has its codes, and a repository error is no source error', async t => {
  const rows: [MoverErrorCode, string][] = [
    ['ARGUMENT_INVALID', 'usage'],
    ['CHANGES_MALFORMED', 'refused'],
    ['CHANGES_UNPINNED', 'refused'],
    ['PARENT_UNUSABLE', 'refused'],
    ['SOURCE_FAILED', 'source'],
    ['CHANGES_FAILED', 'source'],
    ['BACKEND_FULL', 'repository'],
    ['OBJECT_NOT_FOUND', 'repository'],
    ['TARGET_FULL', 'target'],
    ['TARGET_REFUSED', 'refused'],
    ['CHUNK_CORRUPT', 'integrity'],
    ['AUDIT_MISMATCH', 'integrity'],
    ['CANCELLED', 'cancelled'],
    ['INTERNAL', 'internal'],
  ]
  for (const [code, kind] of rows) t.equal(errorKind(code), kind, code)
})

t.test('only our own codes pass for codes', async t => {
  t.equal(isMoverErrorCode('PACK_CORRUPT'), true)
  for (const code of ['ENOENT', '', 'toString', '__proto__'])
    t.equal(isMoverErrorCode(code), false, code)
})

t.test('what passes by itself is marked as such', async t => {
  const errorOf = (os: string) => new MoverError('SOURCE_FAILED', 'x', { details: { os } })
  for (const os of ['EAGAIN', 'ESTALE', 'ETIMEDOUT']) t.ok(errorOf(os).retryable, os)
  for (const os of ['EIO', 'ENOSPC', 'EACCES']) t.notOk(errorOf(os).retryable, os)
})
