import t from 'tap'
import { readExtents } from '../../src/cbt/extents-file.js'
import { said } from '../support/extents.js'

const MiB = 1024 * 1024

async function* textOf(...pieces: string[]): AsyncGenerator<string> {
  yield* pieces
}

function read(
  text: string,
  options: { volumeBytes?: number; isPinned?: boolean } = {},
): Promise<string[]> {
  const { volumeBytes = 1000, isPinned = true } = options
  return said(readExtents(textOf(text), { volumeBytes, isPinned }))
}

const nbd = (...extents: [number, number, 'clean' | 'dirty'][]) =>
  JSON.stringify(
    extents.map(([offset, length, description]) => ({
      offset,
      length,
      type: description === 'dirty' ? 1 : 0,
      description,
    })),
  )

const rbd = (...extents: [number, number, unknown][]) =>
  JSON.stringify(extents.map(([offset, length, exists]) => ({ offset, length, exists })))

const END = (extents: number) => `{"end":true,"extents":${extents}}\n`

t.test('our own lines list what changed; the rest is clean', async t => {
  const rows = [
    { text: END(0), extents: ['clean 0+1000'] },
    { text: `\n  ${END(0)}\n`, extents: ['clean 0+1000'] },
    {
      text: `{"offset":0,"length":100,"state":"data"}\n{"offset":200,"length":50,"state":"zero"}\n${END(2)}`,
      extents: ['data 0+100', 'clean 100+100', 'zero 200+50', 'clean 250+750'],
    },
    {
      text: `{"state":"unknown","length":900,"offset":0}\n{"offset":900,"length":100,"state":"clean"}\n${END(2)}`,
      extents: ['unknown 0+900', 'clean 900+100'],
    },
    { text: '{"extents":0,"end":true}', extents: ['clean 0+1000'] },
  ]
  for (const { text, extents } of rows) t.strictSame(await read(text), extents, text)
})

t.test('lines that are cut or say too much are refused', async t => {
  const line = '{"offset":0,"length":100,"state":"data"}\n'
  const rows: [string, RegExp][] = [
    [line, /is cut/],
    [line.trimEnd(), /is cut/],
    [line + '{"offset":100,"len', /not JSON/],
    [line + END(0), /counts 0 extents, but there are 1/],
    [line + END(2), /counts 2/],
    [line + '{"end":true}', /counts undefined/],
    [line + '{"end":true,"extents":"1"}', /but there are 1/],
    [line + '{"end":false,"extents":1}', /extent 2 is not/],
    [line + END(1) + line, /follows the line/],
    [line + END(1) + END(1), /follows the line/],
    ['{"offset":0,"length":100}\n' + END(1), /is not \{"offset"/],
    ['{"offset":0,"length":100,"state":"dirty"}\n' + END(1), /not a state/],
    ['{"offset":0,"length":100,"state":null}\n' + END(1), /not a state/],
    ['{"offset":0,"length":100,"state":"data","dirty":false}\n' + END(1), /is not \{"offset"/],
    ['{"offset":"0","length":100,"state":"data"}\n' + END(1), /numeric/],
    ['{"offset":0,"length":null,"state":"data"}\n' + END(1), /numeric/],
    ['{"offset":0,"length":1001,"state":"data"}\n' + END(1), /past the end/],
    [line + line + END(2), /overlaps/],
    ['{"offset":1e300,"length":1,"state":"data"}\n' + END(1), /safe integer/],
    ['{"offset":0,"length":1.5,"state":"data"}\n' + END(1), /positive integer/],
  ]
  for (const [text, message] of rows) {
    await t.rejects(read(text), { code: 'CHANGES_MALFORMED', message }, text)
  }
})

t.test('what is neither lines nor an array is refused', async t => {
  const rows = ['', ' \n\t', 'garbage', '\0\0\0', 'null', '"x"', '1', 'offset length', ']']
  for (const text of rows)
    await t.rejects(read(text), { code: 'CHANGES_MALFORMED' }, JSON.stringify(text))
})

t.test('[] means that nothing changed, and nothing is not [] (B29)', async t => {
  for (const text of ['[]', ' [\n]\n']) {
    t.strictSame(await read(text), ['clean 0+1000'])
    t.strictSame(await read(text, { isPinned: false }), ['clean 0+1000'])
    t.strictSame(await read(text, { volumeBytes: 0 }), [])
  }
  await t.rejects(read(''), { code: 'CHANGES_MALFORMED', message: /empty/ })
})

t.test('an nbd dirty bitmap must cover the volume', async t => {
  t.strictSame(await read(nbd([0, 100, 'clean'], [100, 200, 'dirty'], [300, 700, 'clean'])), [
    'clean 0+100',
    'data 100+200',
    'clean 300+700',
  ])
  t.strictSame(await read(nbd([0, 400, 'dirty'], [400, 600, 'dirty']), { isPinned: false }), [
    'data 0+1000',
  ])
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
  t.strictSame(await read(printed), ['clean 0+600', 'data 600+400'])
  const rows: [string, RegExp][] = [
    [nbd([0, 999, 'dirty']), /nothing is said of the last 1 bytes/],
    [nbd([0, 1001, 'dirty']), /past the end/],
    [nbd([1, 999, 'dirty']), /nothing is said/],
    [nbd([0, 500, 'dirty'], [501, 499, 'clean']), /nothing is said/],
    [nbd([0, 500, 'dirty'], [499, 501, 'clean']), /overlaps/],
    [nbd([500, 500, 'dirty'], [0, 500, 'clean']), /nothing is said/],
    [nbd([0, 1000, 'dirty']).slice(0, -1), /cut short/],
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
    await t.rejects(read(text), { code: 'CHANGES_MALFORMED', message }, text)
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
    nbd([0, 500, 'clean']).slice(0, -1) +
      ',{"offset":500,"length":500,"type":3,"description":"hole,zero"}]',
  )
  for (const text of rows) {
    await t.rejects(
      read(text),
      { code: 'CHANGES_MALFORMED', message: /allocation map/, remedy: /qemu:dirty-bitmap/ },
      text,
    )
  }
})

t.test('rbd says what exists in a string; a hole has changed like data (B28)', async t => {
  const rows = [
    {
      text: rbd([0, 400, 'true'], [600, 200, 'false']),
      extents: ['data 0+400', 'clean 400+200', 'zero 600+200', 'clean 800+200'],
    },
    {
      text: rbd([0, 400, true], [600, 200, false]),
      extents: ['data 0+400', 'clean 400+200', 'zero 600+200', 'clean 800+200'],
    },
  ]
  for (const { text, extents } of rows) t.strictSame(await read(text), extents, text)
  for (const exists of ['yes', '', null, 1, 'True', ['true', 'x']]) {
    await t.rejects(
      read(rbd([0, 400, exists])),
      { code: 'CHANGES_MALFORMED', message: /exists/ },
      String(exists),
    )
  }
  await t.rejects(read('[{"offset":0,"exists":"true"}]'), {
    code: 'CHANGES_MALFORMED',
    message: /numeric/,
  })
  await t.rejects(read(rbd([400, 1, 'true'], [0, 1, 'true'])), { code: 'CHANGES_MALFORMED' })
  await t.rejects(read(rbd([0, 400, 'true']).slice(0, -1)), {
    code: 'CHANGES_MALFORMED',
    message: /cut/,
  })
})

t.test(
  'rbd rounds up to objects: the last extent is cut at the end, one behind it is refused',
  async t => {
    const volumeBytes = 10 * MiB - 512
    const objects = rbd([0, 4 * MiB, 'true'], [8 * MiB, 4 * MiB, 'true'])
    t.strictSame(await read(objects, { volumeBytes }), [
      `data 0+${4 * MiB}`,
      `clean ${4 * MiB}+${4 * MiB}`,
      `data ${8 * MiB}+${2 * MiB - 512}`,
    ])
    for (const offset of [volumeBytes, 12 * MiB]) {
      await t.rejects(read(rbd([offset, 4 * MiB, 'true']), { volumeBytes }), {
        code: 'CHANGES_MALFORMED',
        message: /past the end/,
      })
    }
    await t.rejects(
      read(rbd([8 * MiB, 4 * MiB, 'true'], [9 * MiB, MiB, 'true']), { volumeBytes }),
      { code: 'CHANGES_MALFORMED' },
      'only the last extent is cut',
    )
  },
)

t.test('rbd must be pinned, because it does not say from which snapshot it counts', async t => {
  const text = rbd([0, 400, 'true'])
  await t.rejects(read(text, { isPinned: false }), { code: 'CHANGES_UNPINNED', remedy: /since=/ })
})

t.test('the text is closed however reading ends', async t => {
  const rows = [
    '[]',
    '',
    'garbage',
    nbd([0, 1000, 'dirty']),
    nbd([0, 1, 'dirty']),
    END(0),
    rbd([0, 1, 'true']),
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
    await said(readExtents(closing, { volumeBytes: 1000, isPinned: false })).catch(() => {})
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
    yield END(10_000)
  }
  let extents = 0
  let bytes = 0
  for await (const { length } of readExtents(lines(), {
    volumeBytes: 10_000 * 8192,
    isPinned: true,
  })) {
    extents += 1
    bytes += length
  }
  t.equal(extents, 20_000)
  t.equal(bytes, 10_000 * 8192)
})
