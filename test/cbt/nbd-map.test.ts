import t from 'tap'
import { nbdText, saidByText } from '../support/extents-text.js'

t.test('an nbd dirty bitmap must cover the volume', async t => {
  t.strictSame(
    await saidByText(nbdText([0, 100, 'clean'], [100, 200, 'dirty'], [300, 700, 'clean'])),
    ['clean 0+100', 'data 100+200', 'clean 300+700'],
  )
  t.strictSame(
    await saidByText(nbdText([0, 400, 'dirty'], [400, 600, 'dirty']), { isPinned: false }),
    ['data 0+1000'],
  )
  const printed = `[
{ "offset": 0,
  "length": 600,
  "type": 0,
  "description": "clean"},
{ "offset": 600,
  "length": 400,
  "type": 1,
  "description": "dirty"}
]
`
  t.strictSame(await saidByText(printed), ['clean 0+600', 'data 600+400'])
  const rows: [string, RegExp][] = [
    [nbdText([0, 999, 'dirty']), /nothing is said of the last 1 bytes/],
    [nbdText([0, 1001, 'dirty']), /past the end/],
    [nbdText([1, 999, 'dirty']), /nothing is said/],
    [nbdText([0, 500, 'dirty'], [501, 499, 'clean']), /nothing is said/],
    [nbdText([0, 500, 'dirty'], [499, 501, 'clean']), /overlaps/],
    [nbdText([500, 500, 'dirty'], [0, 500, 'clean']), /nothing is said/],
    [nbdText([0, 1000, 'dirty']).slice(0, -1), /cut short/],
    ['[{"offset":0,"length":1000,"type":1,"description":"clean"}]', /element 1 is neither/],
    ['[{"offset":0,"length":1000,"type":3,"description":"dirty"}]', /element 1 is neither/],
    ['[{"offset":0,"length":1000,"type":1}]', /element 1 is neither/],
    ['[{"offset":0,"length":1000}]', /element 1 is neither/],
    [
      '[{"offset":0,"length":500,"type":1,"description":"dirty"},{"offset":500,"length":500,"exists":"true"}]',
      /element 2/,
    ],
    ['[{"offset":"0","length":1000,"type":1,"description":"dirty"}]', /numeric/],
    ['[{}]', /element 1 is neither/],
  ]
  for (const [text, message] of rows) {
    await t.rejects(saidByText(text), { code: 'CHANGES_MALFORMED', message }, text)
  }
})

t.test('an allocation map is refused and told from a dirty bitmap', async t => {
  const rows = ['data', 'hole', 'zero', 'hole,zero', 'unallocated', 'local', 'backing depth 2'].map(
    (description, type) =>
      JSON.stringify([{ offset: 0, length: 1000, type: type % 4, description }]),
  )
  rows.push(
    '[{ "start": 0, "length": 1000, "depth": 0, "present": true, "zero": false, "data": true}]',
  )
  rows.push(
    nbdText([0, 500, 'clean']).slice(0, -1) +
      ',{"offset":500,"length":500,"type":3,"description":"hole,zero"}]',
  )
  for (const text of rows) {
    await t.rejects(
      saidByText(text),
      { code: 'CHANGES_MALFORMED', message: /allocation map/, remedy: /qemu:dirty-bitmap/ },
      text,
    )
  }
})
