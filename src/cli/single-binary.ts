/**
 * Where the standalone binary starts: it unpacks what cannot be loaded from within it, and goes on as
 * `main.js` would. Everything else of the program is the same, and does not know.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { getAsset, getRawAsset } from 'node:sea'
import { exitCodeOf } from './exit-codes.js'
import { failureLines, failureOf } from './failure.js'
import { placesToUnpack, unpackProgram, type Program } from './unpacked-program.js'

/** What scripts/bundle.mjs puts beside the files: their names and digests, in the asset `program`. */
interface Contents {
  readonly addon: string
  readonly files: readonly { readonly name: string; readonly sha256: string }[]
}

/** Unpacks the program and runs it; says why when there is no place for it. */
function startSingleBinary(): void {
  const folder = unpackOrExit(embeddedProgram())
  const main = join(folder, 'main.js')
  process.argv[1] = main
  createRequire(main)(main)
}

function embeddedProgram(): Program {
  const { addon, files } = JSON.parse(getAsset('program', 'utf8')) as Contents
  return {
    addon,
    files: files.map(({ name, sha256 }) => ({
      name,
      sha256,
      bytes: () => new Uint8Array(getRawAsset(name) as ArrayBuffer),
    })),
  }
}

function unpackOrExit(program: Program): string {
  try {
    return unpackProgram(program, placesToUnpack(process.env, process.execPath))
  } catch (error) {
    const failure = failureOf(error)
    const line = JSON.stringify({ type: 'error', ...failure })
    if (process.argv.includes('--json')) console.log(line)
    else for (const each of failureLines(failure, 'mover')) console.error(each)
    process.exit(exitCodeOf(error))
  }
}

startSingleBinary()
