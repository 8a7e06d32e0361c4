import t from 'tap'
import { readExtents } from '../../src/cbt/extents-file.js'
import { endLine, nbdText, rbdText, saidByText } from '../support/extents-text.js'
import { said } from '../support/extents.js'

t.test('what is neither lines nor an array is refused', async t => {
  const rows = ['', ' \n\t', 'garbage', '\0\0\0', 'null', '"x"', '1', 'offset length', ']']
  for (const text of rows)
    await t.rejects(saidByText(text), { code: 'CHANGES_MALFORMED' }, JSON.stringify(text))
})

t.test('[] means that nothing changed, and nothing is not []', async t => {
  for (const text of ['[]', ' [\n]\n']) {
    t.strictSame(await saidByText(text), ['clean 0+1000'])
    t.strictSame(await saidByText(text, { isPinned: false }), ['clean 0+1000'])
    t.strictSame(await saidByText(text, { volumeBytes: 0 }), [])
  }
  await t.rejects(saidByText(''), { code: 'CHANGES_MALFORMED', message: /empty/ })
})

t.test('the text is closed however reading ends', async t => {
  const rows = [
    '[]',
    '',
    'garbage',
    nbdText([0, 1000, 'dirty']),
    nbdText([0, 1, 'dirty']),
    endLine(0),
    rbdText([0, 1, 'true']),
  ]
  for (const text of rows) {
    let isClosed = false
    const closing = (async function* () {
      try {
        yield text
        yield '\n'
      } finally {
        isClosed = true
      }
    })()
    await said(
      readExtents(closing, { name: 'extents:map', volumeBytes: 1000, isPinned: false }),
    ).catch(() => {})
    t.equal(isClosed, true, text)
  }
})

t.test('many extents in pieces', async t => {
  async function* lines(): AsyncGenerator<string> {
    for (let piece = 0; piece < 10; piece += 1) {
      let text = ''
      for (let line = 0; line < 1000; line += 1) {
        text += `{"offset":${(piece * 1000 + line) * 8192},"length":4096,"state":"data"}\n`
      }
      yield text
    }
    yield endLine(10_000)
  }
  let extents = 0
  let bytes = 0
  for await (const { length } of readExtents(lines(), {
    name: 'extents:map',
    volumeBytes: 10_000 * 8192,
    isPinned: true,
  })) {
    extents += 1
    bytes += length
  }
  t.equal(extents, 20_000)
  t.equal(bytes, 10_000 * 8192)
})

t.test('an error names the file, the place and what to do', async t => {
  const rows = [
    {
      text: nbdText([0, 400, 'dirty'], [300, 700, 'clean']),
      message: /^extents:map .*extent at 300: it overlaps/,
      offset: 300,
    },
    { text: '', message: /^extents:map .*it is empty/, offset: null },
    { text: '{"offset":0', message: /^extents:map .*line 1 is not JSON/, offset: null },
  ]
  for (const expected of rows) {
    const { text, ...error } = expected
    await t.rejects(saidByText(text), { ...error, remedy: /a rescan needs no change map/ }, text)
  }
})
