import t from 'tap'
import { throwIfAborted } from '../../src/core/abort.js'

t.test('only an aborted signal throws, and the reason is the cause', async t => {
  throwIfAborted()
  throwIfAborted({})
  throwIfAborted({ signal: undefined })
  throwIfAborted({ signal: new AbortController().signal })
  const reason = new Error('Ctrl-C')
  t.throws(() => throwIfAborted({ signal: AbortSignal.abort(reason) }), {
    code: 'CANCELLED',
    cause: reason,
  })
})
