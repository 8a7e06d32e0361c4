import { execFileSync } from 'node:child_process'
import { chmodSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { changesFromFile } from '../../src/source/changes-file.js'
import { said } from '../support/extents.js'
import { bitmapOf } from '../support/picture.js'

const KiB = 1024

async function saidBy(spec: string, volumeBytes = 1000): Promise<string[]> {
  const source = await changesFromFile(spec)
  const answer = await source.changed({ volumeBytes, parentVolumeBytes: volumeBytes })
  return said(answer.extents)
}

t.test('a bitmap in a file', async t => {
  const file = join(t.testdir({}), 'dirty.bin')
  writeFileSync(file, bitmapOf('.#......'))
  const source = await changesFromFile(`bitmap:${file},granularity=64KiB,since=ck-7`)
  t.equal(source.since, 'ck-7')
  t.equal(source.name, `bitmap:${file}`)
  t.strictSame(await saidBy(`bitmap:${file},granularity=64KiB`, 512 * KiB), [
    'clean 0+65536',
    'data 65536+65536',
    'clean 131072+393216',
  ])
  t.strictSame(
    await saidBy(`bitmap:${file},since=ck-7,granularity=65536`, 512 * KiB),
    await saidBy(`bitmap:${file},granularity=64KiB`, 512 * KiB),
    'in any order',
  )
  await t.rejects(saidBy(`bitmap:${file},granularity=32KiB`, 512 * KiB), {
    code: 'CHANGES_MALFORMED',
  })
})

t.test('extents in a file, each time it is asked', async t => {
  const dir = t.testdir({
    lines: '{"offset":100,"length":50,"state":"data"}\n{"end":true,"extents":1}\n',
    nbd: '[{"offset":0,"length":1000,"type":1,"description":"dirty"}]\n',
    rbd: '[{"offset":0,"length":4194304,"exists":"false"}]',
    nothing: '[]',
  })
  const rows = [
    { spec: 'lines', extents: ['clean 0+100', 'data 100+50', 'clean 150+850'] },
    { spec: 'nbd', extents: ['data 0+1000'] },
    { spec: 'rbd,since=snap', extents: ['zero 0+1000'] },
    { spec: 'nothing', extents: ['clean 0+1000'] },
  ]
  for (const { spec, extents } of rows)
    t.strictSame(await saidBy(`extents:${dir}/${spec}`), extents, spec)
  await t.rejects(saidBy(`extents:${dir}/rbd`), { code: 'CHANGES_UNPINNED' })

  const source = await changesFromFile(`extents:${dir}/lines,since=ck-1`)
  for (const volumeBytes of [1000, 200]) {
    const answer = await source.changed({ volumeBytes, parentVolumeBytes: volumeBytes })
    t.equal((await said(answer.extents)).length, 3)
  }
  const resized = await source.changed({ volumeBytes: 120, parentVolumeBytes: 1000 })
  t.strictSame(resized.health, { kind: 'lost', reason: 'resized' })
  await t.rejects(source.changed({ volumeBytes: 120, parentVolumeBytes: 121 }), {
    code: 'CHANGES_MALFORMED',
  })

  const map = await changesFromFile(`extents:${dir}/nbd`)
  t.strictSame((await map.changed({ volumeBytes: 2000, parentVolumeBytes: 1000 })).health, {
    kind: 'lost',
    reason: 'resized',
  })
  await t.rejects(map.changed({ volumeBytes: 2000, parentVolumeBytes: 3000 }), {
    code: 'CHANGES_MALFORMED',
  })
})

t.test('names of files may hold commas, colons, spaces and quotes', async t => {
  const names = [
    'a,b',
    'a,since',
    'granularity=64KiB',
    'x:y',
    ' ',
    'ü 💾',
    "it's",
    '"',
    'a,sinc=e',
    'new\nline',
    '-rf',
  ]
  const dir = t.testdir({})
  for (const name of names) {
    writeFileSync(join(dir, name), '[]')
    t.strictSame(await saidBy(`extents:${dir}/${name}`), ['clean 0+1000'], JSON.stringify(name))
    const source = await changesFromFile(`extents:${dir}/${name},since=ck,1=2`)
    t.equal(source.since, 'ck,1=2', `${JSON.stringify(name)}, and a checkpoint with a comma`)
  }
})

t.test('a spec that means nothing', async t => {
  const file = join(t.testdir({ file: '[]' }), 'file')
  const rows = [
    '',
    file,
    'extents',
    'extents:',
    ':x',
    `Extents:${file}`,
    `nbd:${file}`,
    `extents:${file},since=`,
    `extents:${file},since=a,since=b`,
    `extents:${file},granularity=64KiB`,
    `extents:,since=a`,
    `bitmap:${file}`,
    `bitmap:${file},since=a`,
    `bitmap:${file},granularity=`,
    `bitmap:${file},granularity=64Kib2`,
    `bitmap:${file},granularity=100`,
    `bitmap:${file},granularity=0`,
    `bitmap:${file},granularity=64KiB,granularity=64KiB`,
    `bitmap:,granularity=64KiB`,
  ]
  for (const spec of rows) {
    await t.rejects(changesFromFile(spec), { code: 'ARGUMENT_INVALID' }, spec)
  }
})

t.test('a file that cannot be had is an error, and never "nothing changed"', async t => {
  const dir = t.testdir({ folder: {}, secret: '[]' })
  execFileSync('mkfifo', [join(dir, 'pipe')])
  chmodSync(join(dir, 'secret'), 0)
  const rows = ['missing', 'folder', 'pipe', 'folder/none/such', 'secret/x', 'with\0nul']
  if (process.getuid?.() !== 0) rows.push('secret')
  for (const name of rows) {
    for (const spec of [`extents:${dir}/${name}`, `bitmap:${dir}/${name},granularity=64KiB`]) {
      await t.rejects(changesFromFile(spec), { code: 'CHANGES_FAILED', stage: 'plan' }, spec)
    }
  }
  await t.rejects(changesFromFile('extents:/dev/null'), {
    code: 'CHANGES_FAILED',
    message: /regular/,
  })

  const source = await changesFromFile(`extents:${dir}/secret`).catch(() => null)
  if (source === null) return
  execFileSync('rm', [join(dir, 'secret')])
  const answer = await source.changed({ volumeBytes: 10, parentVolumeBytes: 10 })
  await t.rejects(said(answer.extents), { code: 'CHANGES_FAILED' }, 'also when it goes later')
})

t.test('an empty, cut or malformed file is refused', async t => {
  const dir = t.testdir({
    empty: '',
    garbage: '\0\u0001\u0002garbage',
    cut: '{"offset":0,"length":1,"state":"data"}\n',
    allocation: '[{"offset":0,"length":1000,"type":0,"description":"data"}]',
  })
  for (const name of ['empty', 'garbage', 'cut', 'allocation']) {
    await t.rejects(saidBy(`extents:${dir}/${name}`), { code: 'CHANGES_MALFORMED' }, name)
  }
  for (const name of ['empty', 'garbage']) {
    await t.rejects(
      saidBy(`bitmap:${dir}/${name},granularity=512`, 1e6),
      { code: 'CHANGES_MALFORMED' },
      name,
    )
  }
})

t.test('a bitmap too large to be one is not read', async t => {
  const file = join(t.testdir({ huge: '' }), 'huge')
  truncateSync(file, 2 ** 30 + 1)
  await t.rejects(changesFromFile(`bitmap:${file},granularity=64KiB`), {
    code: 'CHANGES_MALFORMED',
    message: /1\.00 GiB/,
  })
})
