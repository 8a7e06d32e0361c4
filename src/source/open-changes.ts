import { isNbdUri } from '../core/nbd-uri.js'
import type { ChangeSource } from './change-source.js'
import { changesFromFile } from './changes-file.js'
import { invalidSpec, splitSpec } from './changes-spec.js'
import { nbdChanges } from './nbd-changes.js'

/**
 * Opens the change map that `spec` names: a file, or a dirty bitmap on an NBD server,
 * `URI,bitmap=NAME[,since=CHECKPOINT]`. Throws ARGUMENT_INVALID for a spec that means nothing, and what
 * `changesFromFile` throws.
 */
export async function openChanges(spec: string): Promise<ChangeSource> {
  if (!isNbdUri(spec)) return changesFromFile(spec)
  const { rest: uri, options } = splitSpec(spec, ['bitmap', 'since'])
  const { bitmap, since } = options
  if (bitmap === null) throw invalidSpec(spec, 'a server needs ,bitmap=NAME')
  return nbdChanges({ uri, bitmap, since })
}
