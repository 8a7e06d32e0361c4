import t from 'tap'
import { failureLines, failureOf } from '../../src/cli/failure.js'
import { MoverError } from '../../src/core/errors.js'

t.test('a person reads what, where and what to try', async t => {
  const rows = [
    {
      error: new MoverError('TARGET_EXISTS', 'x.img exists', { remedy: 'add --force=exists' }),
      lines: ['mover: restore: x.img exists', '  try: add --force=exists'],
    },
    {
      error: new MoverError('SOURCE_FAILED', 'cannot read: EIO', { offset: 1048576 }),
      lines: ['mover: restore: cannot read: EIO (at byte 1048576, 1.00 MiB)'],
    },
    {
      error: new MoverError('SOURCE_FAILED', 'cannot read at 1048576', { offset: 1048576 }),
      lines: ['mover: restore: cannot read at 1048576'],
    },
    {
      error: new MoverError('SOURCE_UNUSABLE', "'a\nb' is not there"),
      lines: ["mover: restore: 'a\\x0ab' is not there"],
    },
  ]
  for (const { error, lines } of rows) {
    t.strictSame(failureLines(failureOf(error), 'mover: restore'), lines)
  }
})

t.test('a bug says that it is one, and keeps its stack to itself', async t => {
  for (const error of [new TypeError('x is undefined'), new MoverError('INTERNAL', 'no code')]) {
    const [first, second] = failureLines(failureOf(error), 'mover')
    t.notMatch(first, /\bat .*:\d+/)
    t.match(second, /bug in mover: please report/)
    t.equal(failureOf(error).code, 'INTERNAL')
  }
})
