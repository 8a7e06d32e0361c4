import t from 'tap'
import { ownSeconds, ratioOf, runRounds, spreadOf } from '../../bench/harness/rounds.js'
import { isReached, type Row } from '../../bench/harness/row.js'
import { tableOf } from '../../bench/harness/table.js'

const quietly = { say: () => {} }

t.test('a spread is the median, the lowest and the highest', async t => {
  t.strictSame(spreadOf([3, 1, 2]), { median: 2, min: 1, max: 3 })
  t.strictSame(spreadOf([4, 1, 2, 3]), { median: 2.5, min: 1, max: 4 })
  t.throws(() => spreadOf([]), { message: 'nothing was measured' })
  t.throws(() => spreadOf([1, NaN]), { message: 'nothing was measured' })
})

t.test('contenders take turns, and ratios are those of each round', async t => {
  const turns: string[] = []
  const contender = (name: string, seconds: number[]) => ({
    command: { argv: ['true'] },
    cold: false,
    prepare: () => void turns.push(name),
    seconds: () => seconds.shift() ?? NaN,
  })
  const rounds = await runRounds(
    { one: contender('one', [1, 2, 6]), other: contender('other', [2, 8, 2]) },
    { count: 3, ...quietly },
  )
  t.strictSame(turns, ['one', 'other', 'other', 'one', 'one', 'other'])
  t.strictSame(
    ratioOf(rounds, r => r.other / r.one),
    { median: 2, min: 1 / 3, max: 4 },
  )
  t.strictSame(rounds.timed[0]?.seconds, { median: 2, min: 1, max: 6 })
})

t.test('a command that fails, or a check that does, fails the benchmark', async t => {
  const failing = { one: { command: { argv: ['false'] }, cold: false } }
  await t.rejects(runRounds(failing, { count: 1, ...quietly }), { message: /false ended with 1/ })
  const wrong = {
    one: {
      command: { argv: ['true'] },
      cold: false,
      check: () => Promise.reject(new Error('other bytes')),
    },
  }
  await t.rejects(runRounds(wrong, { count: 1, ...quietly }), { message: 'other bytes' })
})

t.test("a yardstick's own seconds count, and nonsense is refused", async t => {
  const run = { wallSeconds: 9, cpuSeconds: 9, stdout: '{"what":"read","seconds":1.5}\n' }
  t.equal(ownSeconds(run), 1.5)
  t.throws(() => ownSeconds({ ...run, stdout: '{}' }), { message: /no seconds/ })
})

t.test('the median decides whether a bound is kept', async t => {
  const row: Row = {
    part: 'full',
    what: 'a ratio',
    value: { median: 0.8, min: 0.1, max: 2 },
    unit: 'x',
    bound: { least: 0.8 },
    timed: [],
    notes: [],
  }
  t.equal(isReached(row), true)
  t.equal(isReached({ ...row, bound: { least: 0.81 } }), false)
  t.equal(isReached({ ...row, bound: { most: 0.79 } }), false)
  t.equal(isReached({ ...row, bound: null }), true)
  t.match(tableOf([{ ...row, bound: { most: 0.79 } }]), /<= 0\.79 x +NOT reached/)
})
