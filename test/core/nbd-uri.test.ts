import t from 'tap'
import { isNbdUri, parseNbdUri, type NbdAddress, type NbdTls } from '../../src/core/nbd-uri.js'

t.test('addresses as the NBD URI specification writes them', async t => {
  const rows: [string, Omit<NbdAddress, 'tls'>][] = [
    ['nbd://host', { server: { host: 'host', port: 10_809 }, export: '' }],
    ['nbd://host/', { server: { host: 'host', port: 10_809 }, export: '' }],
    ['nbd://host:10/a', { server: { host: 'host', port: 10 }, export: 'a' }],
    ['nbd://[2001:db8::1]:10810/a', { server: { host: '2001:db8::1', port: 10_810 }, export: 'a' }],
    ['nbd://user@host/a', { server: { host: 'host', port: 10_809 }, export: 'a' }],
    ['nbd://host//a', { server: { host: 'host', port: 10_809 }, export: '/a' }],
    ['nbd+unix:///?socket=/run/x', { server: { socket: '/run/x' }, export: '' }],
    ['nbd+unix:///a%20b?socket=/run/x%3F', { server: { socket: '/run/x?' }, export: 'a b' }],
    ['nbd+unix://?socket=x', { server: { socket: 'x' }, export: '' }],
    ['nbd+unix:///a/../b?socket=x', { server: { socket: 'x' }, export: 'a/../b' }],
    ['nbd+unix:///%C3%A4?socket=x', { server: { socket: 'x' }, export: 'ä' }],
  ]
  for (const [uri, address] of rows) {
    t.ok(isNbdUri(uri))
    t.strictSame(parseNbdUri(uri), { ...address, tls: null }, uri)
  }
})

t.test('whom to trust, and who we are', async t => {
  const rows: [string, NbdTls][] = [
    ['nbds://host/a', { certificates: null, server: 'host' }],
    ['nbds://[2001:db8::1]/a', { certificates: null, server: '2001:db8::1' }],
    ['nbds://host/a?tls-certificates=/c%20d', { certificates: '/c d', server: 'host' }],
    ['nbds://host/a?tls-hostname=other', { certificates: null, server: 'other' }],
    ['nbds://host/a?tls-verify-peer=0', { certificates: null, server: null }],
    ['nbds://host/a?tls-verify-peer=false', { certificates: null, server: null }],
    ['nbds://host/a?tls-verify-peer=1&tls-type=x509', { certificates: null, server: 'host' }],
    ['nbds+unix:///a?socket=x&tls-hostname=h', { certificates: null, server: 'h' }],
    ['nbds+unix:///a?socket=x&tls-verify-peer=0', { certificates: null, server: null }],
    ['nbds://host/a?tls-psk-file=/k', { pskFile: '/k', user: null }],
    ['nbds://alice@host/a?tls-psk-file=/k', { pskFile: '/k', user: 'alice' }],
    ['nbds+unix://a%3Ab@/a?socket=x&tls-psk-file=/k', { pskFile: '/k', user: 'a:b' }],
    ['nbds://host/a?tls-psk-file=/k&tls-type=psk&tls-username=bob', { pskFile: '/k', user: 'bob' }],
  ]
  for (const [uri, tls] of rows) t.strictSame(parseNbdUri(uri).tls, tls, uri)
})

t.test('what means nothing, or what is not spoken, is refused and never guessed', async t => {
  for (const uri of [
    'nbds+unix:///a?socket=x',
    'nbds://host/a?tls-type=anon',
    'nbds://host/a?tls-type=psk',
    'nbds://host/a?tls-type=x509&tls-psk-file=/k',
    'nbds://host/a?tls-psk-file=',
    'nbds://host/a?tls-psk-file=/k&tls-psk-file=/k',
    'nbds://host/a?tls-psk-file=/k&tls-certificates=/c',
    'nbds://host/a?tls-psk-file=/k&tls-verify-peer=0',
    'nbds://a@host/a?tls-psk-file=/k&tls-username=b',
    'nbds://host/a?tls-verify-peer=no',
    'nbds://host/a?tls-priority=NORMAL',
    'nbds://host/a?tls-psk-file=%00',
    'nbds:///a',
    'nbd://host/a?tls-psk-file=/k',
    'nbd+vsock://1:2/a',
    'nbd:unix:/run/x',
    'nbd://',
    'nbd:///a',
    'nbd://host:0/a',
    'nbd://host:65536/a',
    'nbd://host:x/a',
    'nbd://[::1/a',
    'nbd://host/%zz',
    'nbd://host/%ff',
    'nbd://host/a?socket=/run/x',
    'nbd+unix:///a',
    'nbd+unix:///a?socket=',
    'nbd+unix://host/a?socket=/run/x',
    'nbd+unix:///a?socket=x&socket=y',
    'nbd+unix:///a?socket=x&tls-certificates=/y',
  ]) {
    t.ok(isNbdUri(uri))
    t.throws(() => parseNbdUri(uri), { code: 'ARGUMENT_INVALID' }, uri)
  }
})

t.test('paths are no URIs', async t => {
  for (const path of ['/dev/nbd0', 'nbd', './nbd://host/a', 'nbd0:x/y', 'file:nbd://x']) {
    t.notOk(isNbdUri(path), path)
  }
})
