/**
 * What lies beside the compiled JavaScript in an installed package: the addon and the version.
 * The single-file build replaces this one module by another with the same two exports, so that
 * nothing else, in no thread, needs to know where the program came from.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

/** Loads the native addon of this installation; throws what `require` throws where there is none. */
export function requireAddon(): unknown {
  return require('#addon')
}

/** The version of this package, such as `0.1.0`. */
export function packageVersion(): string {
  const { version } = require('mover/package.json') as { version: string }
  return version
}
