/**
 * Joins the modules of the command line into the few files of dist/program: 130 small files, each
 * found and read by itself, were a fifth of what `mover list` takes from a cold disk.
 */
import { build } from 'esbuild'
import { join } from 'node:path'

/** @param {string} root of the project, its TypeScript compiled */
export async function joinProgram(root) {
  const dist = join(root, 'dist')
  await build({
    entryPoints: [join(dist, 'cli', 'main.js'), join(dist, 'pipeline', 'batch-worker.js')],
    outdir: join(dist, 'program'),
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    // What only some commands need stays in files of its own, which only they load.
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    // The same encoder, without the addon that would only read long strings faster: records have none.
    alias: { msgpackr: 'msgpackr/pack' },
    logLevel: 'warning',
  })
}
