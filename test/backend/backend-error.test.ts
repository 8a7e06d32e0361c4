import t from 'tap'
import { backendError, systemCode, writingError } from '../../src/backend/backend-error.js'
import { MoverError } from '../../src/core/errors.js'

const failed = (code: string): Error => Object.assign(new Error(code), { code })

t.test('what the file system says gets its code, and what to do', async t => {
  const rows = [
    { system: 'ENOENT', code: 'OBJECT_NOT_FOUND', writing: 'BACKEND_FAILED' },
    { system: 'EEXIST', code: 'OBJECT_EXISTS', writing: 'OBJECT_EXISTS' },
    { system: 'ENOSPC', code: 'BACKEND_FULL', writing: 'BACKEND_FULL', remedy: /make room/ },
    { system: 'EDQUOT', code: 'BACKEND_FULL', writing: 'BACKEND_FULL', remedy: /make room/ },
    { system: 'EROFS', code: 'BACKEND_FAILED', writing: 'BACKEND_FAILED', remedy: /read-write/ },
    { system: 'EACCES', code: 'BACKEND_FAILED', writing: 'BACKEND_FAILED', remedy: /user/ },
    { system: 'EPERM', code: 'BACKEND_FAILED', writing: 'BACKEND_FAILED', remedy: /hard links/ },
    { system: 'EIO', code: 'BACKEND_FAILED', writing: 'BACKEND_FAILED' },
    { system: 'toString', code: 'BACKEND_FAILED', writing: 'BACKEND_FAILED' },
  ]
  for (const { system, code, writing, remedy = null } of rows) {
    const cause = failed(system)
    const error = backendError(cause, 'cannot do it')
    t.match(error, { code, message: /^cannot do it: /, cause, details: { os: system } }, system)
    if (remedy === null) t.equal(error.remedy, null)
    else t.match(error.remedy, remedy)
    t.match(writingError(cause, 'cannot do it'), { code: writing, cause })
  }
})

t.test('a MoverError stays what it is', async t => {
  const error = new MoverError('CANCELLED', 'enough')
  t.equal(backendError(error, 'x'), error)
  t.equal(writingError(error, 'x'), error)
  t.equal(systemCode('ENOENT'), null)
  t.equal(systemCode(failed('ENOENT')), 'ENOENT')
})
