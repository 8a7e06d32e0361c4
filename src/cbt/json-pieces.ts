/**
 * Cuts a text that may be larger than memory into the JSON values it is made of. Every piece is
 * bounded; what does not fit the grammar is `CHANGES_MALFORMED`.
 */
import { EXTENT_TEXT_BYTES_MAX } from '../core/limits.js'
import { malformed } from './statement.js'

/** Yields the value of each line; blank lines are skipped. */
export async function* jsonLines(text: AsyncIterable<string>): AsyncGenerator<unknown, void> {
  let rest = ''
  let number = 0
  for await (const piece of text) {
    const lines = (rest + piece).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      number += 1
      if (line.trim() !== '') yield parseJson(line, `line ${number}`)
    }
    checkLength(rest, `line ${number + 1}`)
  }
  if (rest.trim() !== '') yield parseJson(rest, `line ${number + 1}`)
}

// A whole object without objects inside, or what stands between them. A brace within a string cuts
// the object short, which JSON.parse then refuses.
const TOKEN = /\s*(\{[^}]*\}|[[\],])/y

/** Which token may come next in an array of flat objects. */
const GRAMMAR = {
  start: { '[': 'first' },
  first: { '{': 'comma', ']': 'end' },
  comma: { ',': 'next', ']': 'end' },
  next: { '{': 'comma' },
  end: {},
} as const satisfies Record<string, Readonly<Record<string, string>>>

/** Yields the elements of one array of flat objects, which must be closed and end the text. */
export async function* jsonElements(text: AsyncIterable<string>): AsyncGenerator<unknown, void> {
  let rest = ''
  let state: keyof typeof GRAMMAR = 'start'
  let number = 0
  for await (const piece of text) {
    rest += piece
    let at = 0
    for (let token = tokenAt(rest, at); token !== null; token = tokenAt(rest, at)) {
      const moves: Readonly<Record<string, keyof typeof GRAMMAR>> = GRAMMAR[state]
      const next = moves[token.text.charAt(0)]
      if (next === undefined) throw malformed(`'${token.text.slice(0, 40)}' is out of place`)
      if (token.text.startsWith('{')) {
        number += 1
        yield parseJson(token.text, `element ${number}`)
      }
      state = next
      at = token.end
    }
    rest = rest.slice(at).trimStart()
    // What is left can only grow into an object; anything else is wrong already.
    if (rest !== '' && !rest.startsWith('{')) {
      throw malformed(`'${rest.slice(0, 40)}' is out of place`)
    }
    checkLength(rest, `element ${number + 1}`)
  }
  if (state !== 'end' || rest !== '') throw malformed('the array is cut short')
}

function tokenAt(text: string, at: number): { text: string; end: number } | null {
  TOKEN.lastIndex = at
  const match = TOKEN.exec(text)
  return match === null ? null : { text: match[1] ?? '', end: TOKEN.lastIndex }
}

function parseJson(text: string, where: string): unknown {
  checkLength(text, where)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw malformed(`${where} is not JSON`, cause)
  }
}

function checkLength(text: string, where: string): void {
  if (text.length > EXTENT_TEXT_BYTES_MAX) throw malformed(`${where} is too long`)
}
