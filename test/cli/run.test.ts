import { once } from 'node:events'
import t from 'tap'
import { Run } from '../../src/cli/run.js'
import { throwIfAborted } from '../../src/core/abort.js'
import { MoverError } from '../../src/core/errors.js'
import { fakeIo } from './fake-io.js'

const VOICE = { prefix: 'mover: backup', isQuiet: false, isStdoutTaken: false }

/** A command that works until it is cancelled. */
async function untilCancelled(run: Run): Promise<number> {
  if (!run.signal.aborted) await once(run.signal, 'abort')
  throwIfAborted({ signal: run.signal })
  return 0
}

t.test('each signal stops the run cleanly, with code 8', async t => {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    const io = fakeIo()
    using run = new Run(io, { isJson: false })
    run.speakAs(VOICE)
    const code = run.codeOf(() => untilCancelled(run))
    io.host.emit(name, name)
    io.host.emit(name, name)
    t.equal(await code, 8)
    t.strictSame(io.stderr.lines, [
      `mover: backup: warning: ${name}: stopping when the reads and writes under way have ended`,
      `mover: backup: warning: ${name}: still stopping; the reads and writes under way have to end first`,
      'mover: backup: the operation was cancelled',
    ])
    t.equal(io.host.exitCode, null, 'and never by force')
  }
})

t.test('with --json the stop is told in lines too', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: true })
  const code = run.codeOf(() => untilCancelled(run))
  io.host.emit('SIGTERM', 'SIGTERM')
  t.equal(await code, 8)
  const lines = io.stdout.lines.map((line): unknown => JSON.parse(line))
  t.match(lines, [
    { type: 'warning', code: 'STOPPING' },
    { type: 'error', code: 'CANCELLED' },
  ])
  t.equal(lines.length, 2)
})

t.test('a reader that goes away cancels the run without a word', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: false })
  io.stdout.failsWith = 'EPIPE'
  const code = run.codeOf(async () => {
    await run.stdout.write('a line\n')
    return await untilCancelled(run)
  })
  t.equal(await code, 8)
  t.equal(io.stderr.text, '')
})

t.test('a reader that goes away when all is done changes nothing', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: false })
  io.stdout.failsWith = 'EPIPE'
  const code = await run.codeOf(async () => {
    await run.stdout.write('the result\n')
    return 0
  })
  t.equal(code, 0)
  t.equal(io.stderr.text, '')
})

t.test('a pipe that native code found closed is no error either', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: false })
  const error = new MoverError('TARGET_FAILED', 'write: EPIPE', { details: { os: 'EPIPE' } })
  run.speakAs({ ...VOICE, isStdoutTaken: true })
  t.equal(await run.codeOf(() => Promise.reject(error)), 8)
  t.equal(io.stderr.text, '')
  run.speakAs({ ...VOICE, isStdoutTaken: false })
  t.equal(await run.codeOf(() => Promise.reject(error)), 6, 'a file is nobody who has enough')
  t.match(io.stderr.text, /EPIPE/)
})

t.test('a run whose answer has no way out is stopped, and says why', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: true })
  io.stdout.failsWith = 'ENOSPC'
  const code = await run.codeOf(async () => {
    await run.stdout.write('an event\n')
    return await untilCancelled(run)
  })
  t.equal(code, 6)
  t.match(io.stderr.text, /cannot write to stdout: write ENOSPC/)
})

t.test('an answer that cannot be written is not an answer', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: false })
  io.stdout.failsWith = 'ENOSPC'
  const code = await run.codeOf(async () => {
    await run.stdout.write('the result\n')
    return 0
  })
  t.equal(code, 6)
  t.match(io.stderr.text, /cannot write to stdout: write ENOSPC/)
})

t.test('a bug ends the process with code 1 and asks to be reported', async t => {
  const io = fakeIo()
  using run = new Run(io, { isJson: false })
  t.equal(await run.codeOf(() => Promise.reject(new TypeError('x is undefined'))), 1)
  t.match(io.stderr.text, /TypeError: x is undefined\n {2}try: .*please report it/)

  io.host.emit('uncaughtException', new TypeError('y is undefined'))
  await new Promise(resolve => setTimeout(resolve, 10))
  t.equal(io.host.exitCode, 1)
  t.match(io.stderr.text, /y is undefined/)
})
