/**
 * A reader for the XML that libvirt writes. It knows elements, attributes, text, comments, CDATA and the
 * five entities that XML itself has. A document type is refused, so there is nothing that could expand or
 * be fetched; depth and size are bounded. Every element knows where it stands in the text, so that a
 * description can be changed in one place and be left as it is in all others.
 */
import { MoverError } from '../../core/errors.js'

/** libvirt's own descriptions have some tens of KiB. */
export const XML_CHARS_MAX = 8 * 1024 * 1024
const DEPTH_MAX = 64

export interface XmlElement {
  readonly name: string
  readonly attributes: ReadonlyMap<string, string>
  readonly children: readonly XmlElement[]
  /** The text in it, without that of its children. */
  readonly text: string
  /** Where it begins in the document, and where it ends: behind its last character. */
  readonly start: number
  readonly end: number
  /** Where its content begins and ends; both `end` where it has none. */
  readonly contentStart: number
  readonly contentEnd: number
}

/** Reads a document, and gives its outermost element. Throws HYPERVISOR_FAILED for what is not well-formed. */
export function parseXml(document: string): XmlElement {
  if (document.length > XML_CHARS_MAX) throw malformed('it is longer than 8 MiB')
  const parser = new Parser(document)
  parser.skipMisc()
  const root = parser.element(0)
  parser.skipMisc()
  if (!parser.isAtEnd()) throw malformed('something follows its outermost element')
  return root
}

/** The first child of that name; null where there is none. */
export function childOf(element: XmlElement | null, name: string): XmlElement | null {
  return element?.children.find(child => child.name === name) ?? null
}

/** All children of that name, in their order. */
export function childrenOf(element: XmlElement | null, name: string): readonly XmlElement[] {
  return element?.children.filter(child => child.name === name) ?? []
}

/** An attribute of an element that may not be there; null where either is not. */
export function attributeOf(element: XmlElement | null, name: string): string | null {
  return element?.attributes.get(name) ?? null
}

/** Text as it stands in an element or an attribute. ARGUMENT_INVALID for what no XML can hold. */
export function escapeXml(text: string): string {
  if (FORBIDDEN.test(text)) {
    throw new MoverError('ARGUMENT_INVALID', `'${text}' has a character that XML cannot hold`)
  }
  return text.replace(/[&<>"'\t\n\r]/g, character => `&#${character.charCodeAt(0)};`)
}

const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/u

const ENTITIES = new Map([
  ['amp', '&'],
  ['apos', "'"],
  ['gt', '>'],
  ['lt', '<'],
  ['quot', '"'],
])

const SPACE = /\s*/y
const NAME = /[\p{L}_:][\p{L}\p{N}_:.·-]*/uy
const ATTRIBUTE = /\s+([\p{L}_:][\p{L}\p{N}_:.·-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/uy
const REFERENCE = /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w+));|&/g

class Parser {
  readonly #document: string
  #at = 0

  constructor(document: string) {
    this.#document = document
  }

  isAtEnd(): boolean {
    return this.#at === this.#document.length
  }

  /** Passes over what may stand outside the outermost element: the declaration, comments, space. */
  skipMisc(): void {
    for (;;) {
      this.#match(SPACE)
      if (this.#isNext('<?')) this.#until('?>')
      else if (this.#isNext('<!--')) this.#until('-->')
      else if (this.#isNext('<!')) throw malformed('it has a document type')
      else return
    }
  }

  element(depth: number): XmlElement {
    if (depth > DEPTH_MAX) throw malformed(`elements lie deeper than ${DEPTH_MAX}`)
    const start = this.#at
    this.#expect('<')
    const name = this.#match(NAME)?.[0]
    if (name === undefined) throw malformed(`no element begins at ${start}`)
    const attributes = this.#attributes()
    this.#match(SPACE)
    if (this.#isNext('/>')) {
      this.#at += 2
      const end = this.#at
      const nothing = { contentStart: end, contentEnd: end, children: [], text: '' }
      return { name, attributes, ...nothing, start, end }
    }
    this.#expect('>')
    const contentStart = this.#at
    const { children, text } = this.#content(depth)
    const contentEnd = this.#at
    this.#expect(`</${name}`)
    this.#match(SPACE)
    this.#expect('>')
    return { name, attributes, children, text, start, end: this.#at, contentStart, contentEnd }
  }

  #attributes(): Map<string, string> {
    const attributes = new Map<string, string>()
    for (let match = this.#match(ATTRIBUTE); match !== null; match = this.#match(ATTRIBUTE)) {
      const [, name = '', double, single = ''] = match
      if (attributes.has(name)) throw malformed(`attribute ${name} is there twice`)
      attributes.set(name, resolved(double ?? single))
    }
    return attributes
  }

  #content(depth: number): { children: XmlElement[]; text: string } {
    const children: XmlElement[] = []
    let text = ''
    for (;;) {
      const next = this.#document.indexOf('<', this.#at)
      if (next < 0) throw malformed('it ends within an element')
      text += resolved(this.#document.slice(this.#at, next))
      this.#at = next
      if (this.#isNext('</')) return { children, text }
      if (this.#isNext('<!--')) this.#until('-->')
      else if (this.#isNext('<![CDATA[')) text += this.#until(']]>').slice(9, -3)
      else if (this.#isNext('<?')) this.#until('?>')
      else children.push(this.element(depth + 1))
    }
  }

  #isNext(text: string): boolean {
    return this.#document.startsWith(text, this.#at)
  }

  #expect(text: string): void {
    if (!this.#isNext(text)) throw malformed(`${text} is missing at ${this.#at}`)
    this.#at += text.length
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#document)
    if (match !== null) this.#at = pattern.lastIndex
    return match
  }

  /** What stands up to the end of `mark`, and passes it. */
  #until(mark: string): string {
    const start = this.#at
    const found = this.#document.indexOf(mark, start)
    if (found < 0) throw malformed(`${mark} is missing`)
    this.#at = found + mark.length
    return this.#document.slice(start, this.#at)
  }
}

/** Text with its references resolved; there are no others than those of XML itself. */
function resolved(text: string): string {
  return text.replace(REFERENCE, (all, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) {
      const character = ENTITIES.get(name)
      if (character === undefined) throw malformed(`there is no entity ${name}`)
      return character
    }
    const code = decimal === undefined ? Number.parseInt(hex ?? '', 16) : Number(decimal)
    if (!(code > 0 && code <= 0x10ffff) || (code >= 0xd800 && code < 0xe000)) {
      throw malformed(`${all} is no character`)
    }
    return String.fromCodePoint(code)
  })
}

function malformed(why: string): MoverError {
  return new MoverError('HYPERVISOR_FAILED', `libvirt's XML cannot be read: ${why}`, {
    remedy: 'look at it with virsh dumpxml DOMAIN',
  })
}
