import type { CbtMachineStatus, CbtStatus } from '../cbt-status.js'
import { modeReasonWords } from '../core/mode-reason.js'
import { formatBytes } from '../core/units.js'
import type { Tracker } from '../cbt/tracking.js'
import { defineCommand } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { printable, shellWord } from './printable.js'
import { alignColumns, alignFields, type Align } from './table.js'

export const cbtCommand = defineCommand({
  name: 'cbt',
  summary: 'say what tracks a volume or a machine, and how well',
  notes: [
    'A tracker is good for an incremental (exact or superset: it names every byte that changed, or ' +
      'more), or lost, with the reason and what to do. A backup by a lost one reads all and stores ' +
      'what differs, so nothing is ever missed. What it counts from is not in a bitmap: since=REF is ' +
      'the --checkpoint of the backup that was made when it was added.',
    'Of a machine it tells what each disk has: bitmaps or checkpoints that mover made for itself, which ' +
      'its next backup uses where the repository has the manifest of that checkpoint, and those of ' +
      'others, which it leaves alone. Nothing is changed. A disk that was resized or moved since is ' +
      'read whole all the same.',
  ],
  operands: {
    action: { label: 'status', help: '', choices: ['status'] },
    source: {
      label: 'SOURCE',
      completes: 'file',
      help:
        'as backup takes it: a file, a block device, the URI of an NBD volume, qcow2:FILE, ' +
        'qmp:PATH/NODE or libvirt:DOMAIN',
    },
  },
  options: {},
  examples: [
    { line: 'mover cbt status qcow2:vm42.qcow2', says: 'the dirty bitmaps in an image' },
    {
      line: "mover cbt status 'nbd+unix:///sda?socket=/run/vm-42.nbd' --json",
      says: 'those that a server exports, for a program',
    },
    {
      line: 'mover cbt status libvirt:vm-42',
      says: 'what the next backup of each disk can count from',
    },
  ],
  whenCancelled: 'nothing was changed',

  async run({ operands, report, signal }) {
    const { cbtStatus } = await import('../cbt-status.js')
    const status = await cbtStatus({ source: operands.source, signal })
    const isMachine = status.operation === 'cbt-status-machine'
    await report.result(status, {
      summary: isMachine ? machineLines(status) : statusLines(status),
      bare: isMachine ? ownNames(status) : specs(status.trackers),
    })
    return EXIT_CODES.done
  },
})

function specs(trackers: readonly Tracker[]): readonly string[] {
  return trackers.flatMap(({ changes }) => changes ?? [])
}

/** What the next backups of the machine count from. */
function ownNames({ disks }: CbtMachineStatus): readonly string[] {
  const usable = ({ isOwn, health }: Tracker) => isOwn && health !== 'lost'
  return disks.flatMap(({ trackers }) => trackers.filter(usable).map(({ name }) => name))
}

const HEADINGS = ['tracker', 'granularity', 'changed', 'good for', 'made by', 'flags']
const ALIGNS: readonly Align[] = ['left', 'right', 'right', 'left', 'left', 'left']

function statusLines(status: CbtStatus): readonly string[] {
  const { source, kind, volumeBytes, dataFile, trackers } = status
  const fields = alignFields([
    ['source', printable(source)],
    ['kind', kind],
    ['size', formatBytes(volumeBytes)],
    dataFile === null ? null : ['data file', printable(dataFile)],
    ...commonFields(status),
  ])
  return [...fields, ...trackerLines(trackers)]
}

function machineLines({ machine, disks }: CbtMachineStatus): readonly string[] {
  const ofDisks = disks.flatMap(disk => {
    const { name, volumeBytes, trackers } = disk
    const fields = alignFields([
      ['disk', printable(name)],
      ['size', formatBytes(volumeBytes)],
      ...commonFields(disk),
    ])
    return ['', ...fields, ...trackerLines(trackers)]
  })
  return [...alignFields([['machine', printable(machine)]]), ...ofDisks]
}

function commonFields({
  trackers,
  reason,
  remedy,
}: Pick<CbtStatus, 'trackers' | 'reason' | 'remedy'>): readonly (
  readonly [string, string] | null
)[] {
  return [
    trackers.length > 0 ? null : ['trackers', 'none'],
    reason === null ? null : ['because', printable(modeReasonWords(reason))],
    remedy === null ? null : ['what to do', printable(remedy)],
  ]
}

function trackerLines(trackers: readonly Tracker[]): readonly string[] {
  if (trackers.length === 0) return []
  const rows = alignColumns([HEADINGS, ...trackers.map(rowOf)], ALIGNS)
  return ['', ...rows, ...trackers.flatMap(wordsOf)]
}

function rowOf(tracker: Tracker): readonly string[] {
  const { name, isOwn, granularityBytes, dirtyBytes, health, flags } = tracker
  return [
    printable(name),
    granularityBytes === null ? '?' : formatBytes(granularityBytes),
    dirtyBytes === null ? '?' : formatBytes(dirtyBytes),
    health === 'lost' ? 'a rescan' : `an incremental (${health})`,
    isOwn ? 'mover' : 'others',
    flags.join(', '),
  ]
}

function wordsOf({ name, reason, changes, remedy }: Tracker): readonly string[] {
  const lines = [
    reason === null ? null : `lost: ${printable(modeReasonWords(reason))}`,
    changes === null ? null : `--changes ${shellWord(`${changes},since=REF`)}`,
    remedy === null ? null : printable(remedy),
  ]
  const said = lines.flatMap(line => (line === null ? [] : [`  ${line}`]))
  return said.length === 0 ? [] : ['', printable(name), ...said]
}
