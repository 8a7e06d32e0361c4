import t from 'tap'
import { jsonElements, jsonLines } from '../../src/cbt/json-pieces.js'
import { randomInteger, seededRandom } from '../support/random.js'

async function* inPieces(text: string, pieceLength: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += pieceLength) yield text.slice(at, at + pieceLength)
}

async function all(values: AsyncIterable<unknown>): Promise<unknown[]> {
  const list: unknown[] = []
  for await (const value of values) list.push(value)
  return list
}

t.test('the elements of an array, wherever the text is cut into pieces', async t => {
  const rows = [
    '[]',
    ' [ ] \n',
    '[{}]',
    '[{"a":1},{"b":"x,]"}]\n',
    '[\n{ "offset": 0,\n  "length": 65536 },\n{ "offset": 65536 }\n]\n',
    '[{"a":[1,2]},{"b":"\\"["}]',
  ]
  for (const text of rows) {
    for (let pieceLength = 1; pieceLength <= text.length; pieceLength += 1) {
      const found = await all(jsonElements(inPieces(text, pieceLength)))
      if (JSON.stringify(found) !== JSON.stringify(JSON.parse(text))) {
        t.strictSame(found, JSON.parse(text), `${text} in pieces of ${pieceLength}`)
      }
    }
  }
})

t.test('what is not one closed array of flat objects is refused', async t => {
  const rows = [
    '',
    '[',
    '[{"a":1}',
    '[{"a":1},',
    '[{"a":1},]',
    '[,{"a":1}]',
    '[{"a":1} {"b":2}]',
    '[{"a":1}]]',
    '[{"a":1}] x',
    '[[]]',
    '[1]',
    '["x"]',
    '[null]',
    '[{"a":{"b":1}}]',
    '[{"a":"}"}]',
    '[{"a":1',
    '[{a:1}]',
    '{"a":1}',
    'x',
    '[]\n[]',
    '[{"a":1}];',
  ]
  for (const text of rows) {
    for (const pieceLength of [1, 7, 1000]) {
      const found = all(jsonElements(inPieces(text, pieceLength)))
      await t.rejects(found, { code: 'CHANGES_MALFORMED' }, `${text} in pieces of ${pieceLength}`)
    }
  }
})

t.test('lines are values, blank ones are skipped, the last needs no line feed', async t => {
  const rows = ['', '\n', '{"a":1}', '{"a":1}\n', '{"a":1}\r\n\n{"b":2}\n', '{"a":"x"}\n{}']
  for (const text of rows) {
    const expected = text.split('\n').filter(line => line.trim() !== '')
    for (let pieceLength = 1; pieceLength <= Math.max(text.length, 1); pieceLength += 1) {
      const found = await all(jsonLines(inPieces(text, pieceLength)))
      if (
        JSON.stringify(found) !== JSON.stringify(expected.map((line): unknown => JSON.parse(line)))
      ) {
        t.strictSame(found, expected, `${JSON.stringify(text)} in pieces of ${pieceLength}`)
      }
    }
  }
  for (const text of ['{"a":1', '{"a":1}\n{"b":\n', '{"a":1} {"b":2}', 'garbage\n', '\0\0']) {
    await t.rejects(
      all(jsonLines(inPieces(text, 3))),
      { code: 'CHANGES_MALFORMED', message: /line \d is not JSON/ },
      text,
    )
  }
})

t.test('a text without an end is refused before it fills the memory', async t => {
  let pieces = 0
  async function* endless(head: string, piece: string): AsyncGenerator<string> {
    yield head
    for (; pieces < 1000; pieces += 1) yield piece.repeat(1024)
  }
  for (const values of [jsonElements(endless('[{"a":"', 'x')), jsonLines(endless('{"a":"', 'x'))]) {
    pieces = 0
    await t.rejects(all(values), { code: 'CHANGES_MALFORMED', message: /too long/ })
    t.ok(pieces < 10, `${pieces} pieces were taken`)
  }
  pieces = 0
  await t.rejects(all(jsonElements(endless('[', ' '))), { code: 'CHANGES_MALFORMED' })
})

t.test('many elements in odd pieces, seed 8', async t => {
  const random = seededRandom(8)
  const expected = Array.from({ length: 1000 }, (_, number) => ({
    offset: number,
    text: 'x'.repeat(number % 50),
  }))
  for (const text of [JSON.stringify(expected), JSON.stringify(expected, null, 2)]) {
    async function* odd(): AsyncGenerator<string> {
      for (let at = 0; at < text.length;) {
        const length = randomInteger(random, { from: 1, to: 5000 })
        yield text.slice(at, at + length)
        at += length
      }
    }
    t.strictSame(await all(jsonElements(odd())), expected)
  }
})
