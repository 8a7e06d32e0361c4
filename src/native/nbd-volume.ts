import { throwIfAborted, type AbortOptions } from '../core/abort.js'
import { MoverError } from '../core/errors.js'
import { parseNbdUri, type NbdTls } from '../core/nbd-uri.js'
import { loadAddon, native, type NbdInfo, type NbdTlsOptions } from './addon.js'

export interface OpenNbdOptions extends AbortOptions {
  /** What messages call it; by default the URI. */
  readonly name?: string
  readonly role: 'source' | 'target'
  /** Metadata contexts that are wanted; the answer says which of them the server has. */
  readonly contexts: readonly string[]
}

/** An open volume on an NBD server. */
export interface NbdVolume extends NbdInfo {
  readonly close: () => void
}

/**
 * Connects to the server that `uri` names and opens its export; the signal ends whatever waits for the
 * server, which may be silent for long. Throws ARGUMENT_INVALID for what is no such name,
 * SOURCE_UNUSABLE or TARGET_UNUSABLE where the server is not there or does not agree.
 */
export async function openNbdVolume(
  uri: string,
  { name = uri, role, contexts, signal }: OpenNbdOptions,
): Promise<NbdVolume> {
  const { server, export: exportName, tls } = parseNbdUri(uri)
  const options = {
    ...{ name, role, ...server, export: exportName, contexts },
    ...(tls === null ? {} : { tls: withoutNulls(tls) }),
  }
  try {
    const info = await native(addon => addon.openNbd(options), 'open')
    return interruptible(info, { signal })
  } catch (error) {
    throw error instanceof MoverError ? withRemedy(error) : error
  }
}

function interruptible(info: NbdInfo, { signal }: AbortOptions): NbdVolume {
  const { handle } = info
  let isOpen = true
  // Not at once: those who look at the signal are to know first why their call will end.
  const interrupt = () =>
    void setImmediate(() => {
      if (isOpen) loadAddon().interruptNbd(handle)
    })
  const close = () => {
    isOpen = false
    signal?.removeEventListener('abort', interrupt)
    loadAddon().closeDevice(handle)
  }
  signal?.addEventListener('abort', interrupt)
  try {
    throwIfAborted({ signal })
  } catch (error) {
    close()
    throw error
  }
  return { ...info, close }
}

/** What is left out is not there across the seam. */
function withoutNulls(tls: NbdTls): NbdTlsOptions {
  return Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== null))
}

/** What is to be done is not what a file or a device would need. */
function withRemedy(error: MoverError): MoverError {
  const { code, message, stage, offset, details, retryable } = error
  if (code === 'ARGUMENT_INVALID' || code === 'CANCELLED') return error
  const remedy = REMEDIES[String(details?.['os'])] ?? REMEDY
  return new MoverError(code, message, { stage, offset, details, retryable, remedy, cause: error })
}

const REMEDY =
  'check that the server runs, has this export and serves one client more (qemu-nbd: -e NUMBER)'

/** By the error that the native core gives to what goes wrong with TLS. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOTCONN: 'write nbds: or nbds+unix: instead of nbd: or nbd+unix:',
  EPROTONOSUPPORT:
    'let the server offer TLS (qemu-nbd: --tls-creds, nbdkit: --tls=require); nothing is ever sent in plain instead',
  EKEYREJECTED:
    "check on both sides: ca-cert.pem of tls-certificates, the certificates' dates, tls-hostname; or the user and the key of tls-psk-file",
  ENOKEY:
    'tls-certificates names a folder with ca-cert.pem and perhaps client-cert.pem and client-key.pem, tls-psk-file a file of USER:HEXKEY',
}
