/**
 * `perf script | node scripts/flame-graph.mjs TITLE > graph.svg`: where the processor's time went, as an SVG that
 * needs nothing else. A box is as wide as its share of the samples; what it called stands above it.
 */
import { createInterface } from 'node:readline'

const WIDTH = 1200
const ROW = 16
/** Narrower boxes say nothing. */
const NARROWEST = 1

/**
 * @typedef {object} Frame
 * @property {string} name
 * @property {number} samples
 * @property {Map<string, Frame>} callees
 */

/** @param {string} name @returns {Frame} */
const frame = name => ({ name, samples: 0, callees: new Map() })

const root = await readSamples(process.stdin)
process.stdout.write(svgOf(root, process.argv[2] ?? 'flame graph'))

/**
 * Reads what `perf script` prints: a line with the thread, then its frames, innermost first, then nothing.
 *
 * @param {NodeJS.ReadableStream} input
 */
async function readSamples(input) {
  const root = frame('all')
  let thread = ''
  /** @type {string[]} */
  let stack = []
  for await (const line of createInterface({ input })) {
    if (line.trim() === '') {
      if (thread !== '') add(root, [thread, ...stack.reverse()])
      thread = ''
      stack = []
    } else if (/^\s/.test(line)) {
      stack.push(nameOf(line))
    } else {
      thread = /^(.+?)\s+\d+/.exec(line)?.[1] ?? 'unknown'
    }
  }
  return root
}

/** @param {string} line */
function nameOf(line) {
  const [, symbol] = /^\s*[0-9a-f]+ (.+) \(/.exec(line) ?? []
  return (symbol ?? line.trim()).replace(/\+0x[0-9a-f]+$/, '').replace(/::h[0-9a-f]{16}$/, '')
}

/**
 * @param {Frame} root
 * @param {readonly string[]} stack outermost first
 */
function add(root, stack) {
  root.samples += 1
  let at = root
  for (const name of stack) {
    const callee = at.callees.get(name) ?? frame(name)
    at.callees.set(name, callee)
    callee.samples += 1
    at = callee
  }
}

/**
 * @param {Frame} root
 * @param {string} title
 */
function svgOf(root, title) {
  /** @type {string[]} */
  const boxes = []
  const depth = draw(root, { x: 0, level: 0, scale: WIDTH / Math.max(root.samples, 1), boxes })
  const height = (depth + 3) * ROW
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="11">
<text x="4" y="13">${escaped(title)}: ${root.samples} samples</text>
<g transform="translate(0 ${height - ROW}) scale(1 1)">
${boxes.join('\n')}
</g></svg>
`
}

/**
 * @param {Frame} at
 * @param {{ x: number, level: number, scale: number, boxes: string[] }} place
 * @returns {number} the deepest level drawn
 */
function draw(at, { x, level, scale, boxes }) {
  const width = at.samples * scale
  if (width < NARROWEST) return level
  const y = -level * ROW
  const share = `${at.name} ${((width / WIDTH) * 100).toFixed(1)} %`
  const shown = width > 40 ? escaped(at.name.slice(0, Math.floor(width / 7))) : ''
  const hue = 20 + (hash(at.name) % 40)
  boxes.push(
    `<g><title>${escaped(share)}</title><rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 1}" fill="hsl(${hue} 85% 65%)"/><text x="${(x + 2).toFixed(1)}" y="${y + 11}">${shown}</text></g>`,
  )
  let deepest = level
  let left = x
  for (const callee of [...at.callees.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    deepest = Math.max(deepest, draw(callee, { x: left, level: level + 1, scale, boxes }))
    left += callee.samples * scale
  }
  return deepest
}

/** @param {string} text */
function hash(text) {
  let sum = 0
  for (const letter of text) sum = (sum * 31 + letter.charCodeAt(0)) % 65_521
  return sum
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
