import { formatBytes } from '../core/units.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { openRepositoryOf } from './repository-of.js'

const WIDTH = 16

export const diffCommand = defineCommand({
  name: 'diff',
  summary: 'print the extents in which two manifests differ',
  notes: [
    'Offset and length in bytes, in order, in whole chunks, and a last line with the total. With ' +
      '--json the lines are what --changes extents:FILE takes: {"offset","length","state"} and then ' +
      '{"end":true,"extents":N} in place of a result; a failure ends in a line of type error as ' +
      'everywhere. Only the parts of the two trees that differ are read.',
  ],
  operands: {
    from: { label: 'FROM', help: 'a manifest' },
    to: { label: 'TO', help: 'another one, of this volume or of another' },
  },
  options: {},
  examples: [
    {
      line: 'mover diff vm-42/sda@latest~1 vm-42/sda@latest',
      says: 'what the last backup changed',
    },
    {
      line: 'mover diff 3fa9c1d2 8b1a9953 --json > changes',
      says: 'for --changes extents:changes',
    },
  ],
  whenCancelled: 'nothing was changed; what was printed is right, but not all of it',

  async run(context) {
    const { operands, report, signal } = context
    await using repository = await openRepositoryOf(context)
    const { diff } = await import('../diff.js')
    let extents = 0
    let bytes = 0
    for await (const { offset, length } of diff({ repository, ...operands, signal })) {
      await report.row({ offset, length, state: 'data' }, diffRow(offset, length))
      extents += 1
      bytes += length
    }
    await report.row({ end: true, extents }, diffTotal(extents, bytes))
    return EXIT_CODES.done
  },
})

/** Offset and length, right-aligned, so that rows can be read as they come. */
function diffRow(offset: number, length: number): string {
  return `${String(offset).padStart(WIDTH)}  ${String(length).padStart(WIDTH)}`
}

/** The last line for people. */
function diffTotal(extents: number, bytes: number): string {
  if (extents === 0) return 'no difference'
  return `${extents} ${extents === 1 ? 'extent' : 'extents'}, ${formatBytes(bytes)} (${bytes}) differ`
}
