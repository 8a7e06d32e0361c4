import { isNbdUri } from '../core/nbd-uri.js'
import { isQcow2Name, qcow2PathOf } from '../core/qcow2-name.js'
import type { ChangeSource } from './change-source.js'
import { changesFromFile } from './changes-file.js'
import { invalidSpec, splitSpec } from './changes-spec.js'
import { nbdChanges } from './nbd-changes.js'
import { qcow2Changes } from './qcow2-changes.js'

/**
 * Opens the change map that `spec` names: a file, or a dirty bitmap on an NBD server or in an image,
 * `URI,bitmap=NAME[,since=CHECKPOINT]` or `qcow2:FILE,bitmap=NAME[,since=CHECKPOINT]`. Throws ARGUMENT_INVALID for a spec that means nothing, and what
 * `changesFromFile` throws.
 */
export async function openChanges(spec: string): Promise<ChangeSource> {
  if (!isNbdUri(spec) && !isQcow2Name(spec)) return changesFromFile(spec)
  const { rest, options } = splitSpec(spec, ['bitmap', 'since'])
  const { bitmap, since } = options
  if (bitmap === null) throw invalidSpec(spec, 'a server or an image needs ,bitmap=NAME')
  if (isNbdUri(spec)) return nbdChanges({ uri: rest, bitmap, since })
  return qcow2Changes({ path: qcow2PathOf(rest), bitmap, since })
}
