import { createHash } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import {
  placesToUnpack,
  unpackProgram,
  type Place,
  type Program,
} from '../../src/cli/unpacked-program.js'

/** A program of two files, of which one stands for the addon; `addon` is its content. */
function program(addon = 'module.exports = 1'): Program {
  const texts = { 'main.cjs': 'module.exports = 2', 'addon.cjs': addon }
  return {
    addon: 'addon.cjs',
    files: Object.entries(texts).map(([name, text]) => ({
      name,
      sha256: createHash('sha256').update(text).digest('hex'),
      bytes: () => Buffer.from(text),
    })),
  }
}

/** In a place where no one else may write; the project's own folder may be open to a group. */
function privateFolder(t: Test): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mover-test-')))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

const place = (path: string): Place => ({ path, isCache: false })

t.test('unpacks into a folder that is ours alone', async t => {
  const home = privateFolder(t)
  const folder = unpackProgram(program(), [place(home)])
  t.equal(dirname(folder), home)
  t.equal(statSync(folder).mode & 0o777, 0o700)
  t.strictSame(readdirSync(folder).sort(), ['addon.cjs', 'main.cjs'])
  t.equal(unpackProgram(program(), [place(home)]), folder, 'the next start finds it')
})

t.test('two versions share no folder', async t => {
  const home = privateFolder(t)
  const first = unpackProgram(program(), [place(home)])
  t.not(unpackProgram(program('module.exports = 3'), [place(home)]), first)
})

t.test('a file that was changed is replaced before it is loaded', async t => {
  const home = privateFolder(t)
  const folder = unpackProgram(program(), [place(home)])
  const path = join(folder, 'addon.cjs')

  writeFileSync(path, 'throw new Error("not ours")')
  unpackProgram(program(), [place(home)])
  t.equal(readFileSync(path, 'utf8'), 'module.exports = 1')

  unlinkSync(path)
  writeFileSync(join(home, 'elsewhere.js'), 'module.exports = 1')
  symlinkSync(join(home, 'elsewhere.js'), path)
  unpackProgram(program(), [place(home)])
  t.ok(statSync(path).isFile())
  t.equal(readFileSync(join(home, 'elsewhere.js'), 'utf8'), 'module.exports = 1')

  chmodSync(path, 0o666)
  unpackProgram(program(), [place(home)])
  t.equal(statSync(path).mode & 0o022, 0)
})

const refusals: readonly { what: string; says: RegExp; make: (home: string) => Place }[] = [
  { what: 'is missing', says: /ENOENT/, make: home => place(join(home, 'nowhere')) },
  {
    what: 'is open to others',
    says: /others may write in/,
    make: home => {
      chmodSync(home, 0o777)
      return place(home)
    },
  },
  {
    what: 'lies below one that is open to others',
    says: /others may write in/,
    make: home => {
      mkdirSync(join(home, 'private'), { mode: 0o700 })
      chmodSync(home, 0o777)
      return place(join(home, 'private'))
    },
  },
  {
    what: 'holds a folder of that name that others may read',
    says: /is open to others/,
    make: home => {
      chmodSync(unpackProgram(program(), [place(home)]), 0o755)
      return place(home)
    },
  },
  {
    what: 'holds a link of that name',
    says: /is no folder/,
    make: home => {
      const elsewhere = join(home, 'elsewhere')
      mkdirSync(elsewhere)
      const name = basename(unpackProgram(program(), [place(elsewhere)]))
      symlinkSync(join(elsewhere, name), join(home, name))
      return place(home)
    },
  },
]

for (const { what, says, make } of refusals) {
  t.test(`a place is passed over when it ${what}`, async t => {
    const refused = make(privateFolder(t))
    t.throws(() => unpackProgram(program(), [refused]), { message: says })
  })
}

t.test('when nothing may be loaded from any place, the error names each and a remedy', async t => {
  const home = privateFolder(t)
  const broken = program('throw new Error("failed to map segment from shared object")')
  t.throws(() => unpackProgram(broken, [place(home), place(tmpdir())]), {
    message: /: failed to map segment.*: failed to map segment/,
    remedy: /XDG_CACHE_HOME/,
  })
})

t.test('caches come first, and relative paths not at all', async t => {
  const environment = { XDG_CACHE_HOME: 'here', HOME: '/house', XDG_RUNTIME_DIR: '/run/user/7' }
  t.strictSame(
    placesToUnpack(environment, '/opt/mover').map(({ path }) => path),
    ['/house/.cache', '/run/user/7', '/tmp', '/var/tmp', '/opt'],
  )
})

t.test('a cache that is not there yet is made, private', async t => {
  const home = privateFolder(t)
  const folder = unpackProgram(program(), [{ path: join(home, '.cache'), isCache: true }])
  t.equal(statSync(dirname(folder)).mode & 0o777, 0o700)
})
