import t from 'tap'
import { EXIT_CODES, EXIT_MEANINGS, exitCodeOf } from '../../src/cli/exit-codes.js'
import { MoverError } from '../../src/core/errors.js'

t.test('the exit codes are what they always were', async t => {
  t.same(EXIT_CODES, {
    done: 0,
    internal: 1,
    usage: 2,
    refused: 3,
    source: 4,
    repository: 5,
    target: 6,
    integrity: 7,
    cancelled: 8,
  })
  t.same(Object.keys(EXIT_MEANINGS), Object.keys(EXIT_CODES))
})

t.test('an error ends the run with the code of its kind', async t => {
  const rows = [
    { error: new MoverError('ARGUMENT_INVALID', ''), code: 2 },
    { error: new MoverError('TARGET_EXISTS', ''), code: 3 },
    { error: new MoverError('CHANGES_UNPINNED', ''), code: 3 },
    { error: new MoverError('SOURCE_FAILED', ''), code: 4 },
    { error: new MoverError('BACKEND_FULL', ''), code: 5 },
    { error: new MoverError('TARGET_FULL', ''), code: 6 },
    { error: new MoverError('AUDIT_MISMATCH', ''), code: 7 },
    { error: new MoverError('CANCELLED', ''), code: 8 },
    { error: new MoverError('INTERNAL', ''), code: 1 },
    { error: new TypeError('x is undefined'), code: 1 },
    { error: 'a string', code: 1 },
  ]
  for (const { error, code } of rows) t.equal(exitCodeOf(error), code)
})
