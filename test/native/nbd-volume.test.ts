import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MoverError } from '../../src/core/errors.js'
import { openNbdVolume } from '../../src/native/nbd-volume.js'
import { openChanges } from '../../src/source/open-changes.js'
import {
  CLIENT,
  EXPIRED_SERVER,
  makeAuthority,
  makeCertificates,
  makePskFile,
  revoke,
  SERVER,
} from '../support/certificates.js'
import {
  nbdkit,
  nbdkitOnTcp,
  qemuNbd,
  socketPath,
  uriOf,
  type NbdServer,
} from '../support/nbd-servers.js'
import { backedUp, idOf, makeRepository, restored } from '../support/repository.js'
import { cmp, makeVolume, MiB } from '../support/volumes.js'

const VOLUME = 'vm-42/sda'

/** Keys of everybody, and a volume. */
async function scene(t: Test, bytes = 20 * MiB + 1536) {
  const dir = t.testdir({})
  const authority = makeAuthority(join(dir, 'authority'))
  const certificates = (name: string, all: Parameters<typeof makeCertificates>[1]['all']) =>
    makeCertificates(authority, { folder: join(dir, name), all })
  const server = certificates('server', [SERVER])
  const client = certificates('client', [CLIENT])
  const nobody = certificates('nobody', [])
  mkdirSync(join(dir, 'psk'))
  const keys = makePskFile(join(dir, 'psk', 'keys.psk'), ['mover'])
  const volume = join(dir, 'volume')
  await makeVolume(volume, { bytes, seed: 4 })
  return { dir, authority, certificates, server, client, nobody, keys, volume }
}

/** The URI of a server, spoken to in TLS. */
function secured({ uri }: NbdServer, words: string): string {
  return `${uri.replace(/^nbd/, 'nbds')}${uri.includes('?') ? '&' : '?'}${words}`
}

const LOCALHOST = 'tls-hostname=localhost'

function qemuX509(folder: string, verifies = 'yes', more = ''): string[] {
  const credentials = `tls-creds-x509,id=tls0,endpoint=server,verify-peer=${verifies},dir=${folder}`
  return ['--object', `${credentials}${more}`, '--tls-creds', 'tls0']
}

function qemuPsk(keys: string, more = ''): string[] {
  const credentials = `tls-creds-psk,id=tls0,endpoint=server,dir=${join(keys, '..')}${more}`
  return ['--object', credentials, '--tls-creds', 'tls0']
}

const TLS_1_2 = ',priority=NORMAL:-VERS-ALL:+VERS-TLS1.2'

t.test('a volume goes both ways through TLS, whoever proves what and how', async t => {
  const { dir, server, client, nobody, keys, volume } = await scene(t)
  const repository = await makeRepository(t, join(dir, 'repo'))
  const image = join(dir, 'image')
  const kit = ['--tls=require', 'file', image]
  const certified = `tls-certificates=${client}&${LOCALHOST}`
  const known = `tls-psk-file=${keys}`
  const qemu = (args: readonly string[]) => qemuNbd(t, image, { args: ['-e', '8', ...args] })
  const rows: [string, () => Promise<NbdServer>, string][] = [
    ['qemu-nbd, certificates', () => qemu(qemuX509(server)), certified],
    ['the same in TLS 1.2', () => qemu(qemuX509(server, 'yes', TLS_1_2)), certified],
    [
      'without one of the client',
      () => qemu(qemuX509(server, 'no')),
      `tls-certificates=${nobody}&${LOCALHOST}`,
    ],
    ['qemu-nbd, a PSK', () => qemu(qemuPsk(keys)), known],
    [
      'the same in TLS 1.2, with DHE',
      () => qemu(qemuPsk(keys, `${TLS_1_2}:+DHE-PSK`)),
      `${known}&tls-username=mover`,
    ],
    ['with ECDHE', () => qemu(qemuPsk(keys, `${TLS_1_2}:+ECDHE-PSK`)), known],
    [
      'nbdkit, certificates',
      () => nbdkit(t, [`--tls-certificates=${server}`, '--tls-verify-peer', ...kit]),
      certified,
    ],
    [
      'on TCP, for the address',
      () => nbdkitOnTcp(t, [`--tls-certificates=${server}`, ...kit]),
      `tls-certificates=${nobody}`,
    ],
    ['nbdkit, a PSK', () => nbdkit(t, [`--tls-psk=${keys}`, ...kit]), `${known}&tls-type=psk`],
  ]
  for (const [name, serve, words] of rows) {
    copyFileSync(volume, image)
    const source = await serve()
    const result = await backedUp({
      source: secured(source, words),
      repository,
      volume: VOLUME,
      full: true,
    })
    await ended(source)
    execFileSync('dd', [
      'if=/dev/urandom',
      `of=${image}`,
      'bs=1M',
      'count=20',
      'conv=notrunc',
      'status=none',
    ])
    const target = await serve()
    const manifest = idOf(result)
    await restored({ repository, manifest, target: secured(target, words), readBack: true })
    await ended(target)
    t.equal(await cmp(image, volume), '', name)
    t.equal(result.bytes.volume, 20 * MiB + 1536, name)
  }
})

async function ended({ child }: NbdServer): Promise<void> {
  child.kill('SIGTERM')
  await once(child, 'exit')
}

t.test('a dirty bitmap comes through TLS', async t => {
  const { dir, keys, volume } = await scene(t)
  const qcow2 = join(dir, 'image.qcow2')
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', volume, qcow2])
  execFileSync('qemu-img', ['bitmap', '--add', '-g', '65536', qcow2, 'bm0'])
  const repository = await makeRepository(t, join(dir, 'repo'))
  const parent = idOf(await backedUp({ source: volume, repository, volume: VOLUME }))
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 1M 128k', qcow2])
  execFileSync('qemu-io', ['-f', 'raw', '-c', 'write -q -P 7 1M 128k', volume])
  execFileSync('qemu-img', ['bitmap', '--disable', qcow2, 'bm0'])
  const args = ['-r', '-e', '4', '-B', 'bm0', ...qemuPsk(keys)]
  const server = await qemuNbd(t, qcow2, { format: 'qcow2', args })
  const source = secured(server, `tls-psk-file=${keys}`)
  const changes = await openChanges(`${source},bitmap=bm0`)
  const result = await backedUp({ source, repository, volume: VOLUME, changes, parent })
  t.equal(result.mode, 'incremental')
  const target = join(dir, 'restored')
  await restored({ repository, manifest: idOf(result), target })
  t.equal(await cmp(target, volume), '')
})

/** Opens a volume, and answers the error with which that ended. */
async function refusal(uri: string): Promise<MoverError> {
  const options = { role: 'source', contexts: [] } as const
  const opened = await openNbdVolume(uri, options).catch((error: unknown) => error)
  if (opened instanceof MoverError) return opened
  throw new Error(`${uri} was opened`)
}

t.test('whoever cannot prove what was asked is refused, with what to do about it', async t => {
  const { dir, certificates, authority, server, client, nobody, keys, volume } = await scene(t, 512)
  const other = makeAuthority(join(dir, 'other'))
  const strangers = makeCertificates(other, { folder: join(dir, 'strangers'), all: [CLIENT] })
  const expired = certificates('expired', [EXPIRED_SERVER])
  const noServer = certificates('no-server', [{ ...SERVER, role: 'client' }])
  for (const file of ['cert.pem', 'key.pem']) {
    copyFileSync(join(noServer, `client-${file}`), join(noServer, `server-${file}`))
  }
  const revoked = certificates('revoked', [SERVER])
  revoke(authority, { role: 'server', folder: revoked })
  mkdirSync(join(dir, 'others'))
  const othersKeys = makePskFile(join(dir, 'others', 'keys.psk'), ['mover', 'other'])
  const qemu = (args: readonly string[]) => qemuNbd(t, volume, { args: ['-r', '-e', '8', ...args] })
  const kit = (args: readonly string[]) => nbdkit(t, ['-r', ...args, 'file', volume])
  const kitOf = (folder: string) => kit(['--tls=require', `--tls-certificates=${folder}`])
  const certified = `tls-certificates=${client}&${LOCALHOST}`
  const known = `tls-psk-file=${keys}`
  const REJECTED = 'EKEYREJECTED'
  const withX509 = await qemu(qemuX509(server))
  const withPsk = await qemu(qemuPsk(keys))
  const plain = await qemu([])
  const rows: [string, NbdServer, string, string, RegExp][] = [
    [
      'another authority',
      withX509,
      `tls-certificates=${strangers}&${LOCALHOST}`,
      REJECTED,
      /certificate/,
    ],
    [
      'another host',
      withX509,
      `tls-certificates=${client}&tls-hostname=other`,
      REJECTED,
      /other.*hostname/i,
    ],
    [
      'another address',
      withX509,
      `tls-certificates=${client}&tls-hostname=127.0.0.2`,
      REJECTED,
      /127.0.0.2.*IP/i,
    ],
    ['whom the system does not know', withX509, LOCALHOST, REJECTED, /certificate/],
    [
      'no certificate of the client',
      withX509,
      `tls-certificates=${nobody}&${LOCALHOST}`,
      REJECTED,
      /TLS/,
    ],
    [
      'nor for nbdkit',
      await kit(['--tls=require', '--tls-verify-peer', `--tls-certificates=${server}`]),
      `tls-certificates=${nobody}&${LOCALHOST}`,
      REJECTED,
      /TLS/,
    ],
    ['expired', await kitOf(expired), certified, REJECTED, /expired/],
    ['not for servers', await kitOf(noServer), certified, REJECTED, /purpose/],
    [
      'revoked',
      await kitOf(revoked),
      `tls-certificates=${revoked}&${LOCALHOST}`,
      REJECTED,
      /revoked/,
    ],
    ['another key', withPsk, `tls-psk-file=${othersKeys}&tls-username=mover`, REJECTED, /TLS/],
    ['another user', withPsk, `tls-psk-file=${othersKeys}&tls-username=other`, REJECTED, /TLS/],
    ['a PSK for certificates', withX509, known, REJECTED, /TLS|certificate/],
    ['certificates for a PSK', withPsk, certified, REJECTED, /TLS/],
    [
      'another key for nbdkit',
      await kit(['--tls=require', `--tls-psk=${keys}`]),
      `tls-psk-file=${othersKeys}&tls-username=mover`,
      REJECTED,
      /TLS/,
    ],
    ['no TLS at all', plain, certified, 'EPROTONOSUPPORT', /offers no TLS/],
    ['no TLS of nbdkit', await kit(['--tls=off']), known, 'EPROTONOSUPPORT', /offers no TLS/],
    [
      'a folder that is not there',
      withX509,
      `tls-certificates=${dir}/x&${LOCALHOST}`,
      'ENOKEY',
      /ca-cert.pem cannot be read/,
    ],
    [
      'half a pair',
      withX509,
      `tls-certificates=${halfOf(client, join(dir, 'half'))}&${LOCALHOST}`,
      'ENOKEY',
      /client-key.pem cannot be read/,
    ],
    [
      'no PEM',
      withX509,
      `tls-certificates=${noPem(join(dir, 'no-pem'))}&${LOCALHOST}`,
      'ENOKEY',
      /ca-cert.pem/,
    ],
    [
      'no such user',
      withPsk,
      `${known}&tls-username=nobody`,
      'ENOKEY',
      /no key of the user nobody/,
    ],
    ['which of several', withPsk, `tls-psk-file=${othersKeys}`, 'ENOKEY', /several users/],
  ]
  for (const [name, listening, words, os, message] of rows) {
    const error = await refusal(secured(listening, words))
    t.match(error, { code: 'SOURCE_UNUSABLE', details: { os }, message }, name)
    t.ok((error.remedy ?? '').length > 20, `${name}: ${error.remedy}`)
  }
  const error = await refusal(withX509.uri)
  t.match(error, { code: 'SOURCE_UNUSABLE', details: { os: 'ENOTCONN' }, message: /requires TLS/ })
  t.match(error.remedy, /nbds:/)
  const trusting = secured(withX509, `tls-certificates=${client}&tls-verify-peer=0`)
  const opened = await openNbdVolume(trusting, { role: 'source', contexts: [] })
  t.equal(opened.bytes, 512, 'who says so need not know the server')
  opened.close()
})

function halfOf(folder: string, half: string): string {
  mkdirSync(half)
  for (const file of ['ca-cert.pem', 'client-cert.pem'])
    copyFileSync(join(folder, file), join(half, file))
  return half
}

function noPem(folder: string): string {
  mkdirSync(folder)
  writeFileSync(join(folder, 'ca-cert.pem'), 'secret words')
  return folder
}

const GREETING = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1')

/** An answer to STARTTLS: 1 is yes. */
function toStartTls(kind: number, body = ''): Buffer {
  const reply = Buffer.alloc(20)
  reply.writeBigUInt64BE(0x3e889045565a9n)
  reply.writeUInt32BE(5, 8)
  reply.writeUInt32BE(kind, 12)
  reply.writeUInt32BE(body.length, 16)
  return Buffer.concat([reply, Buffer.from(body)])
}

/**
 * Whoever sits between client and server may speak in plain for as long as TLS has not begun. In 2021
 * several clients took what was put in there for the server's word inside of TLS (CVE-2021-3716).
 */
t.test('nothing is given in plain to who stands between, nor taken from him', async t => {
  const { keys } = await scene(t, 512)
  const headersAgreed = Buffer.from(toStartTls(1))
  headersAgreed.writeUInt32BE(11, 8)
  const rows: [string, (socket: Socket) => void, RegExp][] = [
    [
      'a no',
      socket => socket.write(toStartTls(0x8000_0001, 'really not')),
      /offers no TLS: really not/,
    ],
    ['a policy', socket => socket.write(toStartTls(0x8000_0002)), /offers no TLS/],
    ['a yes to another option', socket => socket.write(headersAgreed), /another option/],
    [
      'more after a yes',
      socket => socket.write(Buffer.concat([toStartTls(1), headersAgreed])),
      /said in plain/,
    ],
    [
      'more after the client has begun',
      socket => {
        socket.write(toStartTls(1))
        socket.once('data', () => socket.write(headersAgreed))
      },
      /TLS failed/,
    ],
    ['the end', socket => socket.end(), /closed/],
    [
      'the end after a yes',
      socket => {
        socket.write(toStartTls(1))
        socket.once('data', () => socket.end())
      },
      /closed.*TLS handshake/,
    ],
  ]
  for (const [name, answer, message] of rows) {
    const socket = socketPath(t)
    const heard: Buffer[] = []
    const server = createServer(client => {
      client.on('error', () => {})
      client.on('data', bytes => heard.push(bytes))
      client.write(GREETING)
      let told = 0
      const listen = (bytes: Buffer) => {
        told += bytes.length
        if (told < 4 + 16) return
        client.off('data', listen)
        answer(client)
      }
      client.on('data', listen)
    }).listen(socket)
    await once(server, 'listening')
    const error = await refusal(
      `${uriOf(socket, 'secret-name').replace('nbd', 'nbds')}&tls-psk-file=${keys}`,
    )
    t.match(error, { code: 'SOURCE_UNUSABLE', message }, name)
    server.close()
    rmSync(socket, { force: true })
    t.notOk(
      Buffer.concat(heard).includes('secret-name'),
      `${name}: the export is not named in plain`,
    )
    const said = Buffer.concat(heard)
    t.equal(said.readUInt32BE(12), 5, `${name}: only TLS was asked for`)
    if (said.length > 20) t.equal(said[20], 22, `${name}: what follows is a handshake of TLS`)
  }
})

t.test(
  'a server that is silent, or drips, while it should agree is left soon',
  { timeout: 60_000 },
  async t => {
    const { keys } = await scene(t, 512)
    const rows: [string, (socket: Socket) => void][] = [
      ['silent', () => {}],
      [
        'dripping',
        socket => {
          socket.write(GREETING)
          // Information without end, each bit of it soon enough.
          const drip = setInterval(() => socket.write(Buffer.from([0])), 200)
          socket.on('close', () => clearInterval(drip))
        },
      ],
      [
        'silent in the TLS handshake',
        socket => {
          socket.write(GREETING)
          socket.write(toStartTls(1))
        },
      ],
    ]
    await Promise.all(
      rows.map(async ([name, serve]) => {
        const socket = socketPath(t)
        const server = createServer(client => {
          client.on('error', () => {})
          serve(client)
        }).listen(socket)
        await once(server, 'listening')
        const begunMs = performance.now()
        const error = await refusal(`${uriOf(socket).replace('nbd', 'nbds')}&tls-psk-file=${keys}`)
        t.match(error, { code: 'SOURCE_UNUSABLE' }, name)
        t.ok(performance.now() - begunMs < 15_000, `${name}: ${error.message}`)
        server.close()
      }),
    )
  },
)
