/** Certificates and keys for tests, made by GnuTLS' tools: none is valid anywhere else. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** An authority that signs certificates, in a folder of its own. */
export interface Authority {
  readonly folder: string
  readonly name: string
}

/** What a certificate says; without dates it is good from now on. */
export interface Said {
  /** `server` and `client` are also what it may be used for. */
  readonly role: 'server' | 'client'
  /** Lines of certtool's templates, such as `dns_name = "localhost"`. */
  readonly lines?: readonly string[]
}

const EXPIRED = [
  'activation_date = "2019-01-01 00:00:00"',
  'expiration_date = "2020-01-01 00:00:00"',
]

/** For `localhost` and 127.0.0.1. */
export const SERVER: Said = {
  role: 'server',
  lines: ['dns_name = "localhost"', 'ip_address = "127.0.0.1"'],
}
export const EXPIRED_SERVER: Said = { role: 'server', lines: [...(SERVER.lines ?? []), ...EXPIRED] }
export const CLIENT: Said = { role: 'client' }

export function makeAuthority(folder: string): Authority {
  const name = `authority of ${folder}`
  mkdirSync(folder)
  makeKey(join(folder, 'ca-key.pem'))
  const template = join(folder, 'ca.template')
  writeFileSync(template, `cn = "${name}"\nca\ncert_signing_key\ncrl_signing_key\n`)
  certtool('--generate-self-signed', {
    'load-privkey': join(folder, 'ca-key.pem'),
    template,
    outfile: join(folder, 'ca-cert.pem'),
  })
  return { folder, name }
}

/** A folder as QEMU, nbdkit and libnbd expect it, with the authority's certificate and these. */
export function makeCertificates(
  authority: Authority,
  { folder, all }: { readonly folder: string; readonly all: readonly Said[] },
): string {
  mkdirSync(folder)
  copyFileSync(join(authority.folder, 'ca-cert.pem'), join(folder, 'ca-cert.pem'))
  for (const { role, lines = [] } of all) {
    const key = join(folder, `${role}-key.pem`)
    makeKey(key)
    const template = join(folder, `${role}.template`)
    const use = [`tls_www_${role}`, 'signing_key', `cn = "a ${role}"`]
    writeFileSync(template, [...use, ...lines].join('\n'))
    certtool('--generate-certificate', {
      'load-privkey': key,
      ...signers(authority),
      template,
      outfile: join(folder, `${role}-cert.pem`),
    })
  }
  return folder
}

/** Revokes a certificate in a folder, where its client looks for what is revoked. */
export function revoke(
  authority: Authority,
  { role, folder }: { role: string; folder: string },
): void {
  const template = join(folder, 'crl.template')
  writeFileSync(template, 'crl_next_update = 30\n')
  certtool('--generate-crl', {
    'load-certificate': join(folder, `${role}-cert.pem`),
    ...signers(authority),
    template,
    outfile: join(folder, 'ca-crl.pem'),
  })
}

/** A file of keys, with a new one for each user. */
export function makePskFile(file: string, users: readonly string[]): string {
  for (const user of users) execFileSync('psktool', ['-u', user, '-p', file], { stdio: 'ignore' })
  return file
}

function signers({ folder }: Authority) {
  return {
    'load-ca-certificate': join(folder, 'ca-cert.pem'),
    'load-ca-privkey': join(folder, 'ca-key.pem'),
  }
}

function makeKey(file: string): void {
  certtool('--generate-privkey', { 'key-type': 'ecdsa', outfile: file })
}

function certtool(what: string, options: Readonly<Record<string, string>>): void {
  const words = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  execFileSync('certtool', [what, ...words], { stdio: 'ignore' })
}
