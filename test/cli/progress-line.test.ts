import t from 'tap'
import { progressLine, progressSentence } from '../../src/cli/progress-line.js'
import { progressEvent } from './progress-event.js'

const GiB = 1024 ** 3

const moment = {
  stage: 'read',
  progress: progressEvent({
    bytesDone: 12 * GiB,
    bytesTotal: 64 * GiB,
    bytesPerSecond: 1.25 * GiB,
    etaSeconds: 41.6,
    limitedBy: 'read' as const,
  }),
}

t.test('the line loses whole parts as the terminal narrows', async t => {
  const rows = [
    {
      columns: 90,
      line: 'read  12.00 GiB of 64.00 GiB   18%  1.25 GiB/s  ETA 41.6 s  limited by reading',
    },
    { columns: 78, line: 'read  12.00 GiB of 64.00 GiB   18%  1.25 GiB/s  ETA 41.6 s' },
    { columns: 55, line: '12.00 GiB of 64.00 GiB   18%  1.25 GiB/s  ETA 41.6 s' },
    { columns: 50, line: '12.00 GiB of 64.00 GiB   18%  1.25 GiB/s' },
    { columns: 35, line: '12.00 GiB of 64.00 GiB   18%' },
    { columns: 20, line: ' 18%' },
    { columns: 4, line: '' },
    { columns: 0, line: '' },
  ]
  for (const { columns, line } of rows) {
    t.equal(progressLine(moment, columns), line, `${columns} columns`)
    t.ok(line.length < Math.max(columns, 1), 'the last column stays free')
  }
})

t.test('the line leaves out what is not known', async t => {
  const progress = progressEvent({ bytesDone: 0, bytesTotal: 512 })
  t.equal(progressLine({ stage: null, progress }, 80), '0 B of 512 B    0%  0 B/s')
})

t.test('a hundred percent is said only of what is done', async t => {
  const rows = [
    { bytesDone: 999, bytesTotal: 1000, says: ' 99%' },
    { bytesDone: 1000, bytesTotal: 1000, says: '100%' },
    { bytesDone: 0, bytesTotal: 0, says: '100%' },
    { bytesDone: 2000, bytesTotal: 1000, says: '100%' },
  ]
  for (const { says, ...bytes } of rows) {
    t.equal(progressLine({ stage: null, progress: progressEvent(bytes) }, 8), says)
  }
})

t.test('a log gets a sentence', async t => {
  t.equal(
    progressSentence(moment),
    'read, 12.00 GiB of 64.00 GiB, 18%, 1.25 GiB/s, ETA 41.6 s, limited by reading',
  )
})
