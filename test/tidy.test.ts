/**
 * The architecture, checked: who may import whom, who alone may import a package, who may talk to the
 * world. The rest of the house's style is taste, and left to readers.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { projectFolder } from './support/project-folder.js'

/** A file imports its own folder and lower floors; folders on one floor never import each other. */
const FLOORS: Readonly<Record<string, number>> = {
  core: 0,
  native: 1,
  cbt: 1,
  qemu: 1,
  source: 2,
  target: 2,
  backend: 2,
  plan: 2,
  store: 3,
  manifest: 3,
  pipeline: 3,
  '.': 4,
  hypervisor: 2,
  'hypervisor/libvirt': 3,
  'hypervisor/qemu': 3,
  cli: 5,
}

const PACKAGE_IMPORTERS = {
  '@napi-rs/blake-hash': 'native/blake3.ts',
  'fs-ext': 'store/file-lock.ts',
  fzstd: 'native/zstd.ts',
  'lz4-napi': 'native/lz4.ts',
  msgpackr: 'core/record.ts',
  piscina: 'pipeline/worker-pool.ts',
}

const FUNCTION_LINES_MAX = 50

/** What lies in the project's folder and is no part of a clone. */
const NOT_IN_A_CLONE = new Set([
  '.cache',
  '.git',
  '.tap',
  'bench/index/target',
  'bench/limits/target',
  'bench/peers/installed',
  'build',
  'dist',
  'mover-demo',
  'native/mover.node',
  'native/target',
  'node_modules',
])

const SOURCE_FOLDER = join(projectFolder, 'src')
const sources = filesBelow(SOURCE_FOLDER)
  .filter(path => path.endsWith('.ts') && !path.endsWith('.d.ts'))
  .map(readSource)

interface Source {
  /** Below src/. */
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
  readonly imports: readonly string[]
}

function readSource(path: string): Source {
  const text = readFileSync(path, 'utf8')
  return {
    path: relative(SOURCE_FOLDER, path),
    text,
    tree: ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true),
    imports: ts.preProcessFile(text).importedFiles.map(({ fileName }) => fileName),
  }
}

t.test('every folder of src is on a floor', async t => {
  const folders = new Set(sources.map(({ path }) => dirname(path)))
  t.strictSame([...folders].sort(), Object.keys(FLOORS).sort())
})

t.test('imports go down the floors', async t => {
  const wrong = sources.flatMap(({ path, imports }) =>
    imports
      .filter(name => name.startsWith('.'))
      .map(name => relative(SOURCE_FOLDER, resolve(SOURCE_FOLDER, dirname(path), name)))
      .filter(imported => !mayImport(dirname(path), dirname(imported)))
      .map(imported => `${path} imports ${imported}`),
  )
  t.strictSame(wrong, [])
})

function mayImport(importer: string, imported: string): boolean {
  return importer === imported || floorOf(imported) < floorOf(importer)
}

function floorOf(folder: string): number {
  return FLOORS[folder] ?? Number.NaN
}

t.test('every package has one importer', async t => {
  const importers: Record<string, string> = {}
  for (const { path, imports } of sources) {
    for (const name of new Set(imports)) {
      if (name.startsWith('.') || isBuiltin(name)) continue
      importers[name] = name in importers ? `${importers[name]}, ${path}` : path
    }
  }
  t.strictSame(importers, PACKAGE_IMPORTERS)
})

t.test('imports name files by .js and parts of Node by node:', async t => {
  const wrong = sources.flatMap(({ path, imports }) =>
    imports
      .filter(name => (name.startsWith('.') ? !name.endsWith('.js') : isBuiltin(name)))
      .filter(name => !name.startsWith('node:'))
      .map(name => `${path} imports ${name}`),
  )
  t.strictSame(wrong, [])
})

t.test('only cli prints, exits or reads the environment', async t => {
  const wrong = sources
    .filter(({ path }) => dirname(path) !== 'cli')
    .flatMap(({ path, tree }) => worldlyNames(tree).map(name => `${path} uses ${name}`))
  t.strictSame(wrong, [])
})

const WORLDLY =
  /^(console\.\w+|process\.(argv|chdir|emitWarning|env|exit|exitCode|on|once|stderr|stdin|stdout))$/

function worldlyNames(tree: ts.SourceFile): string[] {
  return nodesOf(tree)
    .filter(ts.isPropertyAccessExpression)
    .map(node => node.getText(tree))
    .filter(text => WORLDLY.test(text))
}

t.test('exports have names', async t => {
  const wrong = sources.filter(({ text }) => /^export (default\b|=)/m.test(text))
  t.strictSame(
    wrong.map(({ path }) => path),
    [],
  )
})

t.test('a function fits on a screen', async t => {
  const wrong = sources.flatMap(({ path, tree }) =>
    nodesOf(tree)
      .filter(ts.isFunctionLike)
      .map(node => ({ line: lineOf(tree, node.getStart(tree)), end: lineOf(tree, node.end) }))
      .filter(({ line, end }) => end - line + 1 > FUNCTION_LINES_MAX)
      .map(({ line, end }) => `src/${path}:${line} has ${end - line + 1} lines`),
  )
  t.strictSame(wrong, [])
})

function lineOf(tree: ts.SourceFile, position: number): number {
  return tree.getLineAndCharacterOfPosition(position).line + 1
}

t.test('files have names of their own, in kebab-case', async t => {
  const nameless = /^(common|helpers?|misc|shared|types|utils?)$/
  const wrong = sources
    .map(({ path }) => basename(path, '.ts'))
    .filter(name => !/^[a-z\d]+(-[a-z\d]+)*$/.test(name) || nameless.test(name))
  t.strictSame(wrong, [])
})

t.test('only the seam names napi, and only system calls are unsafe', async t => {
  const folder = join(projectFolder, 'native', 'src')
  const modules = filesBelow(folder).map(path => ({
    path: relative(folder, path),
    code: readFileSync(path, 'utf8').replace(/^\s*\/\/.*$/gm, ''),
  }))
  const naming = (word: RegExp) =>
    modules.filter(({ code }) => word.test(code)).map(({ path }) => path)
  t.strictSame(
    naming(/\bnapi\b/).filter(path => !['lib.rs', 'error.rs'].includes(path)),
    [],
  )
  t.strictSame(
    naming(/\bunsafe\b/).filter(path => path !== 'device/system_calls.rs'),
    [],
  )
})

t.test('no file names this machine, and no work is left for later', async t => {
  // Written in pieces, or this file would find itself.
  const unwanted = new RegExp(
    [
      `TO${'DO'}`,
      `FIX${'ME'}`,
      `/${'root'}/`,
      `/${'work'}/`,
      `/home/\\w`,
      `registry${'.npmjs'}`,
    ].join('|'),
  )
  const wrong = filesBelow(projectFolder)
    .filter(path => !/\.(node|bin|pack|tgz)$/.test(path) && !path.endsWith('LICENSE'))
    .filter(path => unwanted.test(readFileSync(path, 'latin1')))
  t.strictSame(
    wrong.map(path => relative(projectFolder, path)),
    [],
  )
})

function nodesOf(root: ts.Node): ts.Node[] {
  const nodes: ts.Node[] = []
  const visit = (node: ts.Node): void => {
    nodes.push(node)
    node.getChildren().forEach(visit)
  }
  visit(root)
  return nodes
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (NOT_IN_A_CLONE.has(relative(projectFolder, path))) return []
    return entry.isDirectory() ? filesBelow(path) : [path]
  })
}
