import t from 'tap'
import { MoverError } from '../../src/core/errors.js'
import { invariant, InvariantError } from '../../src/core/invariant.js'

t.test('an invariant that holds is silent, and one that does not is our bug', async t => {
  invariant(1 + 1 === 2, 'arithmetic holds')
  t.throws(() => invariant(false, 'digests have 32 bytes'), {
    name: 'InvariantError',
    message: 'invariant broken: digests have 32 bytes',
  })
  t.notOk(
    new InvariantError('x') instanceof MoverError,
    'our bugs are never the fault of the world',
  )
})
