import t from 'tap'
import { isNbdUri, parseNbdUri, type NbdAddress } from '../../src/core/nbd-uri.js'

t.test('addresses as the NBD URI specification writes them', async t => {
  const rows: [string, NbdAddress][] = [
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
    t.strictSame(parseNbdUri(uri), address, uri)
  }
})

t.test('what means nothing, or what is not spoken, is refused and never guessed', async t => {
  for (const uri of [
    'nbds://host/a',
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
