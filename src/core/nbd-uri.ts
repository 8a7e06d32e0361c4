/**
 * Names of volumes on NBD servers, in the form of the NBD URI specification: `nbd://HOST[:PORT]/EXPORT`
 * and `nbd+unix:///EXPORT?socket=PATH`. Names are percent-encoded and taken as they are: an export may
 * be called `..`, which a URL parser would take for a step.
 */
import { MoverError } from './errors.js'

/** Where a server is, and which of its exports is meant. */
export interface NbdAddress {
  readonly server: NbdServer
  /** May be empty: the server's default. */
  readonly export: string
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
  if (scheme !== 'nbd' && scheme !== 'nbd+unix') {
    throw invalid(uri, 'its scheme is neither nbd: nor nbd+unix:')
  }
  const [, authority, path = '', query = ''] = NBD_URI.exec(uri) ?? []
  if (authority === undefined) throw invalid(uri, 'it is not SCHEME://[HOST[:PORT]]/EXPORT')
  const parameters = parametersOf(query, uri)
  const server = scheme === 'nbd' ? tcpServer : unixServer
  return { server: server(authority, parameters, uri), export: decoded(path, uri) }
}

type Parameters = ReadonlyMap<string, string>

function parametersOf(query: string, uri: string): Parameters {
  const parameters = new Map<string, string>()
  for (const part of query.split('&')) {
    if (part === '') continue
    const [, name = '', value = ''] = /^([^=]*)(?:=(.*))?$/s.exec(part) ?? []
    // What is not understood could have asked for something that we then would not do.
    if (name !== 'socket') throw invalid(uri, `'${name}' is no parameter of it`)
    if (parameters.has(name)) throw invalid(uri, `${name} is given twice`)
    parameters.set(name, decoded(value, uri))
  }
  return parameters
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
    /^(?:[^@]*@)?(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(authority) ?? []
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
    remedy: 'write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH',
  })
}
