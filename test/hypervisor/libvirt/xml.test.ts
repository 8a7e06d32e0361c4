import t from 'tap'
import {
  attributeOf,
  childOf,
  childrenOf,
  escapeXml,
  parseXml,
} from '../../../src/hypervisor/libvirt/xml.js'

t.test('elements, attributes and text are what they stand for', async t => {
  const root = parseXml(`<?xml version='1.0'?><!-- a <b> -->
<domain id='7' type="kvm">
  <name>a &lt;b&gt; &amp; &#252;&#x1F600;</name>
  <!-- gone -->
  <devices><disk a='1 > 0 &quot;'/><disk/><![CDATA[<&>]]></devices>
</domain>
`)
  t.equal(attributeOf(root, 'type'), 'kvm')
  t.equal(childOf(root, 'name')?.text, 'a <b> & ü😀')
  const devices = childOf(root, 'devices')
  t.equal(devices?.text, '<&>')
  t.strictSame(
    childrenOf(devices, 'disk').map(disk => attributeOf(disk, 'a')),
    ['1 > 0 "', null],
  )
  t.equal(attributeOf(childOf(childOf(root, 'none'), 'none'), 'none'), null)
})

t.test('elements know where they stand', async t => {
  const text = `<a> <b x='1'>ü<c/></b> <d/></a>`
  const [b, d] = parseXml(text).children
  t.equal(text.slice(b?.start, b?.end), `<b x='1'>ü<c/></b>`)
  t.equal(text.slice(b?.contentStart, b?.contentEnd), `ü<c/>`)
  t.equal(text.slice(d?.start, d?.end), `<d/>`)
  t.equal(text.slice(d?.contentStart, d?.contentEnd), '')
})

t.test('what is not well-formed, or would expand, is refused', async t => {
  const bomb = `<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>`
  const rows = [
    bomb,
    `<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>`,
    '',
    'text',
    '<a>',
    '<a></b>',
    '<a/><b/>',
    '<a/>text',
    `<a x='1' x='2'/>`,
    `<a x=1/>`,
    `<a x='<'/>`,
    `<a x='1'y='2'/>`,
    '<a>&nosuch;</a>',
    '<a>&#0;</a>',
    '<a>&#xD800;</a>',
    '<a>&#1114112;</a>',
    '<a><!-- </a>',
    '<a><![CDATA[ </a>',
    '< a/>',
    '<a'.repeat(10),
    `${'<a>'.repeat(70)}${'</a>'.repeat(70)}`,
    `<a>${' '.repeat(8 * 1024 ** 2)}</a>`,
  ]
  for (const document of rows) {
    const said = document.slice(0, 40)
    t.throws(() => parseXml(document), { code: 'HYPERVISOR_FAILED' }, said)
  }
})

t.test('what is escaped is read as it was', async t => {
  const text = `a'b"c<d>&e\t\n ü😀]]>`
  const root = parseXml(`<a x='${escapeXml(text)}'>${escapeXml(text)}</a>`)
  t.equal(attributeOf(root, 'x'), text)
  t.equal(root.text, text)
  for (const bad of ['\0', '\u001b', '\ud800', '\uffff']) {
    t.throws(() => escapeXml(bad), { code: 'ARGUMENT_INVALID' })
  }
})

t.test('a long text takes no longer than it has to', async t => {
  const startedMs = performance.now()
  parseXml(`<a>${"<b x='1'>&amp;</b>".repeat(100_000)}</a>`)
  t.ok(performance.now() - startedMs < 5_000)
})
