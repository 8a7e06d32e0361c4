import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readConfig, requireFeature } from '../../src/store/repository-config.js'
import { readAttachment } from '../../src/store/attachments.js'
import { backup } from '../../src/backup.js'
import {
  backedUp,
  idOf,
  makeRepository,
  objectsOf,
  reopen,
  verified,
} from '../support/repository.js'
import { objectsByKind } from '../support/damage.js'

const XML = Buffer.from('<domain/>')
const set = { id: '5e'.repeat(16), members: 2 }
const attachments = [{ name: 'domain.xml', type: 'application/xml', content: XML }]

t.test('an attachment comes back as it was given, and is checked', async t => {
  const folder = t.testdir({ 'volume.img': 'x'.repeat(200_000) })
  const repository = await makeRepository(t, join(folder, 'r'))
  const source = join(folder, 'volume.img')
  const result = await backedUp({ source, repository, volume: 'v', set, attachments })
  t.same((await readConfig(repository.backend, 'r')).features, ['machines'])

  const again = await reopen(t, join(folder, 'r'))
  await again.store.refresh()
  const manifest = await again.resolve(idOf(result))
  t.strictSame(manifest.set, set)
  const [attachment] = manifest.attachments
  if (attachment === undefined) throw new Error('the manifest has no attachment')
  t.same(await readAttachment(again.store, attachment), XML)
  await t.rejects(readAttachment(again.store, { ...attachment, bytes: 8 }), {
    code: 'PAGE_CORRUPT',
  })
  const page = { ...attachment, digest: manifest.tree.top ?? '' }
  await t.rejects(readAttachment(again.store, page), { code: 'PAGE_CORRUPT' })

  for (const independent of [false, true]) {
    t.strictSame((await verified({ repository: again, independent })).damage, [])
  }
  spoil(join(folder, 'r'), XML)
  await t.rejects(readAttachment(again.store, attachment), { code: 'PAGE_CORRUPT' })
  for (const independent of [false, true]) {
    const { damage } = await verified({
      repository: await reopen(t, join(folder, 'r')),
      independent,
    })
    const found = damage.find(({ name }) => name === attachment.digest)
    t.match(found, { kind: 'page', manifests: [manifest.id], extents: [] })
  }
})

t.test('what no manifest could carry is refused before anything is read', async t => {
  const folder = t.testdir({ 'volume.img': 'x' })
  const repository = await makeRepository(t, join(folder, 'r'))
  const one = attachments[0]
  if (one === undefined) throw new Error('there is one')
  const rows = [
    { set: { id: 'x', members: 1 } },
    { set: { id: '5e'.repeat(16), members: 0 } },
    { attachments: [one, one] },
    { attachments: [{ ...one, name: '' }] },
    { attachments: [{ ...one, type: '\ud800' }] },
    { attachments: [{ ...one, content: Buffer.alloc(2 ** 21 + 1) }] },
    { attachments: Array.from({ length: 17 }, (_, nth) => ({ ...one, name: `${nth}` })) },
  ]
  for (const row of rows) {
    const source = join(folder, 'volume.img')
    await using job = backup({ source, repository, volume: 'v', ...row })
    await t.rejects(job.result, { code: 'ARGUMENT_INVALID' })
  }
  t.strictSame(objectsOf(join(folder, 'r'), 'config'), ['1'], 'and no feature is asked for')
})

t.test('a feature is named once, whoever comes first', async t => {
  const folder = t.testdir({})
  const repository = await makeRepository(t, join(folder, 'r'))
  await Promise.all([1, 2, 3].map(() => requireFeature(repository.backend, 'r', 'machines')))
  await requireFeature(repository.backend, 'r', 'machines')
  t.strictSame(objectsOf(join(folder, 'r'), 'config'), ['1', '2'])
  const { id, defaults, features } = await readConfig(repository.backend, 'r')
  t.strictSame(
    { id, defaults, features },
    {
      id: repository.id,
      defaults: repository.defaults,
      features: ['machines'],
    },
  )
})

/** Changes these bytes in whatever pack of pages holds them. */
function spoil(path: string, bytes: Buffer): void {
  for (const name of objectsByKind(path).page) {
    const pack = readFileSync(join(path, name))
    const at = pack.indexOf(bytes)
    if (at < 0) continue
    pack[at] = 0x21
    writeFileSync(join(path, name), pack)
  }
}
