import t from 'tap'
import { JsonReport, jsonLine } from '../../src/cli/json-report.js'
import { Output } from '../../src/cli/output.js'
import { FakeStream } from './fake-io.js'
import { progressEvent } from './progress-event.js'

function reportTo(stream: FakeStream, { isQuiet = false } = {}): JsonReport {
  return new JsonReport(new Output(stream, { onBroken: () => {} }), { isQuiet })
}

t.test('a run is events, rows and one last line', async t => {
  const stream = new FakeStream()
  const report = reportTo(stream)
  await report.event({ type: 'stage', stage: 'plan' })
  await report.row({ offset: 0, length: 512, state: 'data' })
  await report.result({ operation: 'list', manifests: 0 })
  t.strictSame(stream.lines, [
    '{"type":"stage","stage":"plan"}',
    '{"offset":0,"length":512,"state":"data"}',
    '{"type":"result","operation":"list","manifests":0}',
  ])
})

t.test('quiet leaves out the progress, and nothing else', async t => {
  const stream = new FakeStream()
  const report = reportTo(stream, { isQuiet: true })
  await report.event(progressEvent({}))
  await report.event({ type: 'warning', code: 'X', message: 'x' })
  t.strictSame(stream.lines, ['{"type":"warning","code":"X","message":"x"}'])
})

t.test('what JSON cannot say is said in text', async t => {
  const record = {
    slots: 2n ** 60n,
    digest: new Uint8Array([0xab, 1]),
    set: new Set(['a']),
    text: 'a\nb',
  }
  t.equal(
    jsonLine(record),
    '{"slots":"1152921504606846976","digest":"ab01","set":["a"],"text":"a\\nb"}\n',
  )
})
