/**
 * Names of volumes on NBD servers, in the form of the NBD URI specification: `nbd://HOST[:PORT]/EXPORT`
 * and `nbd+unix:///EXPORT?socket=PATH`, or `nbds` for TLS. Names are percent-encoded and taken as they
 * are: an export may be called `..`, which a URL parser would take for a step.
 */
import { MoverError } from './errors.js'

/** Where a server is, and which of its exports is meant. */
export interface NbdAddress {
  readonly server: NbdServer
  /** May be empty: the server's default. */
  readonly export: string
  /** How both sides prove who they are; null where all goes in plain. */
  readonly tls: NbdTls | null
}

/** Certificates, or a key that both sides know. */
export type NbdTls =
  | {
      /** The folder with `ca-cert.pem` and what else there is; null: whom the system trusts. */
      readonly certificates: string | null
      /** Whom the server's certificate has to be made for; null where anybody will do. */
      readonly server: string | null
    }
  | {
      readonly pskFile: string
      /** Null for the only one in the file. */
      readonly user: string | null
    }

export type NbdServer =
  { readonly socket: string } | { readonly host: string; readonly port: number }

/** IANA's. */
const DEFAULT_PORT = 10_809

const SCHEME = /^(nbds?(?:\+[a-z]+)?):/
const NBD_URI = /^[a-z+]+:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/

/** Whether `name` means a volume on an NBD server, and not a path. */
export function isNbdUri(name: string): boolean {
  return SCHEME.test(name)
}

/** Throws ARGUMENT_INVALID for what is no NBD URI, or asks for what is not spoken here. */
export function parseNbdUri(uri: string): NbdAddress {
  const scheme = SCHEME.exec(uri)?.[1]
  if (scheme === undefined || !SCHEMES.includes(scheme)) {
    throw invalid(uri, `its scheme is none of ${SCHEMES.join(': ')}:`)
  }
  const [, authority, path = '', query = ''] = NBD_URI.exec(uri) ?? []
  if (authority === undefined) throw invalid(uri, 'it is not SCHEME://[HOST[:PORT]]/EXPORT')
  const parameters = parametersOf(query, uri)
  const [, user, address = ''] = /^(?:([^@]*)@)?(.*)$/.exec(authority) ?? []
  const server = (scheme.endsWith('+unix') ? unixServer : tcpServer)(address, parameters, uri)
  return {
    server,
    export: decoded(path, uri),
    tls: scheme.startsWith('nbds')
      ? tlsOf({ parameters, user, server, uri })
      : noTls(parameters, uri),
  }
}

const SCHEMES: readonly string[] = ['nbd', 'nbd+unix', 'nbds', 'nbds+unix']

type Parameters = ReadonlyMap<string, string>

/** The specification's, and libnbd's where it names files. */
const PARAMETERS: readonly string[] = [
  ...['socket', 'tls-type', 'tls-hostname', 'tls-verify-peer'],
  ...['tls-certificates', 'tls-psk-file', 'tls-username'],
]

function parametersOf(query: string, uri: string): Parameters {
  const parameters = new Map<string, string>()
  for (const part of query.split('&')) {
    if (part === '') continue
    const [, name = '', value = ''] = /^([^=]*)(?:=(.*))?$/s.exec(part) ?? []
    // What is not understood could have asked for something that we then would not do.
    if (!PARAMETERS.includes(name)) throw invalid(uri, `'${name}' is no parameter of it`)
    if (parameters.has(name)) throw invalid(uri, `${name} is given twice`)
    const text = decoded(value, uri)
    if (text === '') throw invalid(uri, `${name} is empty`)
    if (text.includes('\0')) throw invalid(uri, `${name} has a NUL`)
    parameters.set(name, text)
  }
  return parameters
}

/** Whoever writes of TLS wants it, and would not get it. */
function noTls(parameters: Parameters, uri: string): null {
  const unmet = [...parameters.keys()].find(name => name.startsWith('tls-'))
  if (unmet !== undefined) throw invalid(uri, `${unmet} goes with nbds: and nbds+unix:`)
  return null
}

interface TlsWords {
  readonly parameters: Parameters
  readonly user: string | undefined
  readonly server: NbdServer
  readonly uri: string
}

function tlsOf({ parameters, user: name, server, uri }: TlsWords): NbdTls {
  const pskFile = parameters.get('tls-psk-file') ?? null
  const certificates = parameters.get('tls-certificates') ?? null
  const type = parameters.get('tls-type') ?? (pskFile === null ? 'x509' : 'psk')
  const names = [name, parameters.get('tls-username')].filter(each => each !== undefined)
  if (names.length > 1) throw invalid(uri, 'it names a user twice')
  if (type === 'psk') {
    if (pskFile === null) throw invalid(uri, 'a PSK needs tls-psk-file=FILE')
    const unmet = ['tls-certificates', 'tls-hostname', 'tls-verify-peer'].find(each =>
      parameters.has(each),
    )
    if (unmet !== undefined) throw invalid(uri, `${unmet} means nothing beside tls-psk-file`)
    return { pskFile, user: names[0] === undefined ? null : decoded(names[0], uri) }
  }
  // Without a proof of who the server is, anybody between could be it.
  if (type !== 'x509') throw invalid(uri, `tls-type is x509 or psk, and not '${type}'`)
  if (pskFile !== null) throw invalid(uri, 'tls-psk-file goes with tls-type=psk')
  return { certificates, server: verifiedName({ parameters, server, uri }) }
}

type NameWords = Pick<TlsWords, 'parameters' | 'server' | 'uri'>

function verifiedName({ parameters, server, uri }: NameWords): string | null {
  const name = parameters.get('tls-hostname') ?? ('host' in server ? server.host : null)
  const verifies = parameters.get('tls-verify-peer') ?? '1'
  if (['0', 'false'].includes(verifies)) return null
  if (!['1', 'true'].includes(verifies)) throw invalid(uri, 'tls-verify-peer is 0 or 1')
  if (name !== null) return name
  throw invalid(
    uri,
    "a socket has no host: tls-hostname=NAME says whose the server's certificate is",
  )
}

function unixServer(authority: string, parameters: Parameters, uri: string): NbdServer {
  const socket = parameters.get('socket') ?? ''
  if (socket === '') throw invalid(uri, 'it lacks ?socket=PATH')
  if (authority !== '') throw invalid(uri, 'a socket has no host: write nbd+unix:///EXPORT')
  return { socket }
}

function tcpServer(authority: string, parameters: Parameters, uri: string): NbdServer {
  if (parameters.has('socket')) throw invalid(uri, 'a socket goes with nbd+unix:')
  const [, bracketed, plain, digits] =
    /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(authority) ?? []
  const host = decoded(bracketed ?? plain ?? '', uri)
  if (host === '') throw invalid(uri, 'it names no host')
  const port = digits === undefined || digits === '' ? DEFAULT_PORT : Number(digits)
  if (port < 1 || port > 65_535) throw invalid(uri, `${port} is no port`)
  return { host, port }
}

function decoded(text: string, uri: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid(uri, `'${text}' is not percent-encoded UTF-8`)
  }
}

function invalid(uri: string, why: string): MoverError {
  return new MoverError('ARGUMENT_INVALID', `'${uri}' does not name an NBD volume: ${why}`, {
    remedy: 'write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH, with nbds for TLS',
  })
}
