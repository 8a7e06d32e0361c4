import type { CbtStatus } from '../cbt-status.js'
import { modeReasonWords } from '../core/mode-reason.js'
import { formatBytes } from '../core/units.js'
import type { Tracker } from '../source/tracking.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { printable, shellWord } from './printable.js'
import { alignColumns, alignFields, type Align } from './table.js'

export const cbtCommand = defineCommand({
  name: 'cbt',
  summary: 'say what tracks the changes of a volume, and how well',
  notes: [
    'A tracker is good for an incremental (exact or superset: it names every byte that changed, or ' +
      'more), or lost, with the reason and what to do. A backup by a lost one reads all and stores ' +
      'what differs, so nothing is ever missed. What it counts from is not in a bitmap: since=REF is ' +
      'the --checkpoint of the backup that was made when it was added.',
  ],
  operands: {
    action: { label: 'status', help: '', choices: ['status'] },
    source: {
      label: 'SOURCE',
      completes: 'file',
      help: 'as backup takes it: a file, a block device, the URI of an NBD volume, or qcow2:FILE',
    },
  },
  options: {},
  examples: [
    { line: 'mover cbt status qcow2:vm42.qcow2', says: 'the dirty bitmaps in an image' },
    {
      line: "mover cbt status 'nbd+unix:///sda?socket=/run/vm-42.nbd' --json",
      says: 'those that a server exports, for a program',
    },
  ],
  whenCancelled: 'nothing was changed',

  async run({ operands, report, signal }) {
    const { cbtStatus } = await import('../cbt-status.js')
    const status = await cbtStatus({ source: operands.source, signal })
    const usable = status.trackers.filter(({ changes }) => changes !== null)
    await report.result(status, {
      summary: statusLines(status),
      bare: usable.map(({ changes }) => changes ?? ''),
    })
    return EXIT_CODES.done
  },
})

const HEADINGS = ['tracker', 'granularity', 'changed', 'good for', 'flags']
const ALIGNS: readonly Align[] = ['left', 'right', 'right', 'left', 'left']

function statusLines(status: CbtStatus): readonly string[] {
  const { source, kind, volumeBytes, dataFile, trackers, reason, remedy } = status
  const fields = alignFields([
    ['source', printable(source)],
    ['kind', kind],
    ['size', formatBytes(volumeBytes)],
    dataFile === null ? null : ['data file', printable(dataFile)],
    trackers.length > 0 ? null : ['trackers', 'none'],
    reason === null ? null : ['because', modeReasonWords(reason)],
    remedy === null ? null : ['what to do', printable(remedy)],
  ])
  if (trackers.length === 0) return fields
  const rows = alignColumns([HEADINGS, ...trackers.map(rowOf)], ALIGNS)
  return [...fields, '', ...rows, ...trackers.flatMap(wordsOf)]
}

function rowOf({ name, granularityBytes, dirtyBytes, health, flags }: Tracker): readonly string[] {
  return [
    printable(name),
    granularityBytes === null ? '?' : formatBytes(granularityBytes),
    dirtyBytes === null ? '?' : formatBytes(dirtyBytes),
    health === 'lost' ? 'a rescan' : `an incremental (${health})`,
    flags.join(', '),
  ]
}

function wordsOf({ name, reason, changes, remedy }: Tracker): readonly string[] {
  const lines = [
    reason === null ? null : `lost: ${modeReasonWords(reason)}`,
    changes === null ? null : `--changes ${shellWord(`${changes},since=REF`)}`,
    remedy === null ? null : printable(remedy),
  ]
  return ['', printable(name), ...lines.flatMap(line => (line === null ? [] : [`  ${line}`]))]
}
