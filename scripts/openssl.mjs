/**
 * The OpenSSL that the addon is linked with. It is part of the addon, so that one file runs anywhere: the
 * system's where there is one to link with statically, else it is compiled, which takes some minutes.
 */
import { existsSync } from 'node:fs'
import { dirname, isAbsolute } from 'node:path'
import { answerOf } from './run.mjs'

const HEADERS = '/usr/include'

/** The folder of the system's libssl.a and libcrypto.a; null where they or their headers are missing. */
export function systemOpenSslFolder() {
  if (!existsSync(`${HEADERS}/openssl/ssl.h`)) return null
  const [ssl, crypto] = ['libssl.a', 'libcrypto.a'].map(library =>
    answerOf('cc', [`-print-file-name=${library}`])?.trim(),
  )
  // The compiler answers with the bare name of what it does not find.
  if (ssl === undefined || crypto === undefined || !isAbsolute(ssl) || !isAbsolute(crypto)) {
    return null
  }
  return dirname(ssl)
}

/**
 * What tells openssl-sys which one to take; nothing where the caller's environment says it already.
 *
 * @returns {Record<string, string>}
 */
export function openSslSettings() {
  const isChosen = Object.keys(process.env).some(name => name.startsWith('OPENSSL_'))
  const folder = isChosen ? null : systemOpenSslFolder()
  if (folder === null) return {}
  return {
    OPENSSL_NO_VENDOR: '1',
    OPENSSL_STATIC: '1',
    OPENSSL_LIB_DIR: folder,
    OPENSSL_INCLUDE_DIR: HEADERS,
  }
}
