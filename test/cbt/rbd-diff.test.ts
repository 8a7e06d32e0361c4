import t from 'tap'
import { rbdText, saidByText } from '../support/extents-text.js'

const MiB = 1024 * 1024

t.test('rbd says what exists in a string; a hole has changed like data', async t => {
  const rows = [
    {
      text: rbdText([0, 400, 'true'], [600, 200, 'false']),
      extents: ['data 0+400', 'clean 400+200', 'zero 600+200', 'clean 800+200'],
    },
    {
      text: rbdText([0, 400, true], [600, 200, false]),
      extents: ['data 0+400', 'clean 400+200', 'zero 600+200', 'clean 800+200'],
    },
  ]
  for (const { text, extents } of rows) t.strictSame(await saidByText(text), extents, text)
  for (const exists of ['yes', '', null, 1, 'True', ['true', 'x']]) {
    await t.rejects(
      saidByText(rbdText([0, 400, exists])),
      { code: 'CHANGES_MALFORMED', message: /exists/ },
      String(exists),
    )
  }
  await t.rejects(saidByText('[{"offset":0,"exists":"true"}]'), {
    code: 'CHANGES_MALFORMED',
    message: /numeric/,
  })
  await t.rejects(saidByText(rbdText([400, 1, 'true'], [0, 1, 'true'])), {
    code: 'CHANGES_MALFORMED',
  })
  await t.rejects(saidByText(rbdText([0, 400, 'true']).slice(0, -1)), {
    code: 'CHANGES_MALFORMED',
    message: /cut/,
  })
})

t.test(
  'rbd rounds up to objects: the last extent is cut at the end, one behind it is refused',
  async t => {
    const volumeBytes = 10 * MiB - 512
    const objects = rbdText([0, 4 * MiB, 'true'], [8 * MiB, 4 * MiB, 'true'])
    t.strictSame(await saidByText(objects, { volumeBytes }), [
      `data 0+${4 * MiB}`,
      `clean ${4 * MiB}+${4 * MiB}`,
      `data ${8 * MiB}+${2 * MiB - 512}`,
    ])
    for (const offset of [volumeBytes, 12 * MiB]) {
      await t.rejects(saidByText(rbdText([offset, 4 * MiB, 'true']), { volumeBytes }), {
        code: 'CHANGES_MALFORMED',
        message: /past the end/,
      })
    }
    await t.rejects(
      saidByText(rbdText([8 * MiB, 4 * MiB, 'true'], [9 * MiB, MiB, 'true']), { volumeBytes }),
      { code: 'CHANGES_MALFORMED' },
      'only the last extent is cut',
    )
  },
)

t.test('rbd must be pinned, because it does not say from which snapshot it counts', async t => {
  const text = rbdText([0, 400, 'true'])
  await t.rejects(saidByText(text, { isPinned: false }), {
    code: 'CHANGES_UNPINNED',
    remedy: /since=/,
  })
})
