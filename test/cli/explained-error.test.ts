import t from 'tap'
import { COMMANDS } from '../../src/cli/commands.js'
import { explainedError } from '../../src/cli/explained-error.js'
import { MoverError } from '../../src/core/errors.js'

t.test('a cancelled command says what holds', async t => {
  for (const command of COMMANDS) {
    const error = explainedError(new MoverError('CANCELLED', 'x'), command)
    t.match(error, { code: 'CANCELLED', message: `cancelled; ${command.whenCancelled}` })
  }
})

t.test('a wrong command line says where to read on', async t => {
  const command = { name: 'cat', whenCancelled: '' }
  const bare = explainedError(new MoverError('ARGUMENT_INVALID', 'no'), command)
  t.match(bare, { message: 'no', remedy: 'mover cat --help' })
  const helped = new MoverError('ARGUMENT_INVALID', 'no', { remedy: 'do this' })
  t.equal(explainedError(helped, command), helped)
})

t.test('every other error is passed as it is', async t => {
  for (const error of [new MoverError('SOURCE_FAILED', 'x'), new TypeError('x')]) {
    t.equal(explainedError(error, { name: 'cat', whenCancelled: '' }), error)
  }
})
