import { MoverError } from '../core/errors.js'
import { parseNbdUri } from '../core/nbd-uri.js'
import { native, type NbdInfo } from './addon.js'

export interface OpenNbdOptions {
  readonly role: 'source' | 'target'
  /** Metadata contexts that are wanted; the answer says which of them the server has. */
  readonly contexts: readonly string[]
}

/**
 * Connects to the server that `uri` names and opens its export. Throws ARGUMENT_INVALID for what is no
 * such name, SOURCE_UNUSABLE or TARGET_UNUSABLE where the server is not there or does not agree.
 */
export async function openNbdVolume(
  uri: string,
  { role, contexts }: OpenNbdOptions,
): Promise<NbdInfo> {
  const { server, export: exportName } = parseNbdUri(uri)
  const options = { name: uri, role, ...server, export: exportName, contexts }
  try {
    return await native(addon => addon.openNbd(options), 'open')
  } catch (error) {
    throw error instanceof MoverError ? withRemedy(error) : error
  }
}

/** What is to be done is not what a file or a device would need. */
function withRemedy(error: MoverError): MoverError {
  const { code, message, stage, offset, details, retryable } = error
  const remedy =
    'check that the server runs, has this export and serves one client more (qemu-nbd: -e NUMBER)'
  return new MoverError(code, message, { stage, offset, details, retryable, remedy, cause: error })
}
