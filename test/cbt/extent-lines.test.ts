import t from 'tap'
import { endLine, saidByText } from '../support/extents-text.js'

t.test('our own lines list what changed; the rest is clean', async t => {
  const rows = [
    { text: endLine(0), extents: ['clean 0+1000'] },
    { text: `\n  ${endLine(0)}\n`, extents: ['clean 0+1000'] },
    {
      text: `{"offset":0,"length":100,"state":"data"}\n{"offset":200,"length":50,"state":"zero"}\n${endLine(2)}`,
      extents: ['data 0+100', 'clean 100+100', 'zero 200+50', 'clean 250+750'],
    },
    {
      text: `{"state":"unknown","length":900,"offset":0}\n{"offset":900,"length":100,"state":"clean"}\n${endLine(2)}`,
      extents: ['unknown 0+900', 'clean 900+100'],
    },
    { text: '{"extents":0,"end":true}', extents: ['clean 0+1000'] },
  ]
  for (const { text, extents } of rows) t.strictSame(await saidByText(text), extents, text)
})

t.test('lines that are cut or say too much are refused', async t => {
  const line = '{"offset":0,"length":100,"state":"data"}\n'
  const rows: [string, RegExp][] = [
    [line, /is cut/],
    [line.trimEnd(), /is cut/],
    [line + '{"offset":100,"len', /not JSON/],
    [line + endLine(0), /counts 0 extents, but there are 1/],
    [line + endLine(2), /counts 2/],
    [line + '{"end":true}', /counts undefined/],
    [line + '{"end":true,"extents":"1"}', /but there are 1/],
    [line + '{"end":false,"extents":1}', /extent 2 is not/],
    [line + endLine(1) + line, /follows the line/],
    [line + endLine(1) + endLine(1), /follows the line/],
    ['{"offset":0,"length":100}\n' + endLine(1), /is not \{"offset"/],
    ['{"offset":0,"length":100,"state":"dirty"}\n' + endLine(1), /not a state/],
    ['{"offset":0,"length":100,"state":null}\n' + endLine(1), /not a state/],
    ['{"offset":0,"length":100,"state":"data","dirty":false}\n' + endLine(1), /is not \{"offset"/],
    ['{"offset":"0","length":100,"state":"data"}\n' + endLine(1), /numeric/],
    ['{"offset":0,"length":null,"state":"data"}\n' + endLine(1), /numeric/],
    ['{"offset":0,"length":1001,"state":"data"}\n' + endLine(1), /past the end/],
    [line + line + endLine(2), /overlaps/],
    ['{"offset":1e300,"length":1,"state":"data"}\n' + endLine(1), /safe integer/],
    ['{"offset":0,"length":1.5,"state":"data"}\n' + endLine(1), /positive integer/],
  ]
  for (const [text, message] of rows) {
    await t.rejects(saidByText(text), { code: 'CHANGES_MALFORMED', message }, text)
  }
})
