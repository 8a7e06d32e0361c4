import t from 'tap'
import { failureOf } from '../../src/cli/failure.js'
import { HumanReport } from '../../src/cli/human-report.js'
import { Output } from '../../src/cli/output.js'
import { ProgressPrinter } from '../../src/cli/progress-printer.js'
import { MoverError } from '../../src/core/errors.js'
import { FakeStream } from './fake-io.js'
import { progressEvent } from './progress-event.js'

function reportOn({ isQuiet = false } = {}) {
  const stdout = new FakeStream()
  const stderr = new FakeStream()
  const messages = new Output(stderr, { onBroken: () => {} })
  const clock = { nowMs: 0 }
  const prefix = 'mover: backup'
  const progress = new ProgressPrinter({
    output: messages,
    prefix,
    columns: () => 80,
    nowMs: () => (clock.nowMs += 1000),
  })
  const answers = new Output(stdout, { onBroken: () => {} })
  const report = new HumanReport({ prefix, answers, messages, progress: isQuiet ? null : progress })
  return { report, stdout, stderr }
}

t.test('the progress line makes room for whatever is said', async t => {
  const { report, stdout, stderr } = reportOn()
  await report.event({ type: 'stage', stage: 'read' })
  await report.event(progressEvent({ bytesDone: 1, bytesTotal: 2 }))
  await report.event({ type: 'warning', code: 'X', message: 'look\x1b' })
  await report.event(progressEvent({ bytesDone: 2, bytesTotal: 2 }))
  await report.result({ operation: 'backup' }, { summary: ['done'] })
  t.equal(
    stderr.text,
    '\r\x1b[Kread  1 B of 2 B   50%  0 B/s' +
      '\r\x1b[Kmover: backup: warning: look\\x1b\n' +
      '\r\x1b[Kread  2 B of 2 B  100%  0 B/s' +
      '\r\x1b[K',
  )
  t.equal(stdout.text, 'done\n')
})

t.test('of several disks it is said which', async t => {
  const { report, stderr } = reportOn()
  await report.event({ type: 'stage', stage: 'read', disk: 'vdb' })
  await report.event(progressEvent({ bytesDone: 1, bytesTotal: 2 }))
  await report.event({ type: 'warning', code: 'X', message: 'look', disk: 'vdb\x1b' })
  t.equal(
    stderr.text,
    '\r\x1b[Kvdb read  1 B of 2 B   50%  0 B/s' +
      '\r\x1b[Kmover: backup: warning: disk vdb\\x1b: look\n',
  )
})

t.test('quiet leaves bare ids, and what must be seen', async t => {
  const { report, stdout, stderr } = reportOn({ isQuiet: true })
  await report.event(progressEvent({ bytesDone: 1, bytesTotal: 2 }))
  await report.event({
    type: 'fallback',
    requested: 'incremental',
    mode: 'rescan',
    reason: 'x',
    message: 'a rescan',
  })
  await report.result({ operation: 'backup' }, { summary: ['a table'], bare: ['3fa9'] })
  t.equal(stdout.text, '3fa9\n')
  t.equal(stderr.text, 'mover: backup: a rescan\n')
})

t.test('damage and failure are told on stderr', async t => {
  const { report, stdout, stderr } = reportOn()
  const damage = {
    kind: 'pack',
    name: 'ab',
    message: 'no',
    manifests: [],
    extents: [],
    extentsInAll: 0,
  } as const
  await report.event({ type: 'damage', damage })
  await report.failure(failureOf(new MoverError('BACKEND_FAILED', 'gone', { remedy: 'look' })))
  t.strictSame(stderr.lines, [
    'mover: backup: damaged pack ab: no',
    'mover: backup: gone',
    '  try: look',
  ])
  t.equal(stdout.text, '')
})
