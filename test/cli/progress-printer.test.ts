import t from 'tap'
import { Output } from '../../src/cli/output.js'
import { ProgressPrinter } from '../../src/cli/progress-printer.js'
import { FakeStream } from './fake-io.js'
import { progressEvent } from './progress-event.js'

function printerOn(columns: number | null) {
  const stream = new FakeStream()
  const clock = { nowMs: 0 }
  const printer = new ProgressPrinter({
    output: new Output(stream, { onBroken: () => {} }),
    prefix: 'mover: backup',
    columns: () => columns,
    nowMs: () => clock.nowMs,
  })
  const showAt = async (nowMs: number, bytesDone: number) => {
    clock.nowMs = nowMs
    await printer.show(progressEvent({ bytesDone, bytesTotal: 100 }))
  }
  return { stream, printer, showAt }
}

t.test('a terminal gets at most five lines a second, one over the other', async t => {
  const { stream, showAt, printer } = printerOn(80)
  for (let ms = 0; ms <= 1000; ms += 10) await showAt(ms, ms / 10)
  const shown = stream.text.split('\r\x1b[K').slice(1)
  t.equal(shown.length, 5)
  t.equal(shown[0], '20 B of 100 B   20%  0 B/s')
  t.notMatch(stream.text, /\n/)

  await printer.clear()
  t.ok(stream.text.endsWith('\r\x1b[K'), 'and is left clean')
  const { length } = stream.text
  await printer.clear()
  t.equal(stream.text.length, length, 'once')
})

t.test('elsewhere a line comes every five seconds', async t => {
  const { stream, showAt, printer } = printerOn(null)
  for (let ms = 0; ms <= 12_000; ms += 250) await showAt(ms, 10)
  await printer.clear()
  t.strictSame(stream.lines, [
    'mover: backup: 10 B of 100 B, 10%, 0 B/s',
    'mover: backup: 10 B of 100 B, 10%, 0 B/s',
  ])
})

t.test('what is shown never runs backwards within a step', async t => {
  const { stream, showAt, printer } = printerOn(null)
  await showAt(5000, 60)
  await showAt(10_000, 50)
  printer.enterStage('verify')
  await showAt(15_000, 10)
  t.strictSame(stream.lines, [
    'mover: backup: 60 B of 100 B, 60%, 0 B/s',
    'mover: backup: 60 B of 100 B, 60%, 0 B/s',
    'mover: backup: verify, 10 B of 100 B, 10%, 0 B/s',
  ])
})
