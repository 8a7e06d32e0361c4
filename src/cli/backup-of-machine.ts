import type { BackupMachineOptions, BackupMachineResult } from '../backup-machine.js'
import { MoverError } from '../core/errors.js'
import { formatDuration } from '../core/units.js'
import { backupSummary } from './backup-summary.js'
import { followJob } from './follow-job.js'
import { given } from './given.js'
import { printable } from './printable.js'
import type { Report } from './report.js'

const ITS_HYPERVISOR = 'its hypervisor tells what changed'

/** Options of `mover backup` that mean nothing of a machine, and why. */
const NOT_OF_MACHINES: Readonly<Record<string, string>> = {
  changes: ITS_HYPERVISOR,
  parent: ITS_HYPERVISOR,
  checkpoint: ITS_HYPERVISOR,
  'read-holes': 'its hypervisor tells what is a hole',
  // Its disks can be planned for only when they are frozen, and a dry run is to change nothing.
  'dry-run': 'it would have to be frozen for that',
}

/** Options that mean nothing of anything else. */
const OF_MACHINES = ['scratch', 'scratch-bytes', 'nbd-socket'] as const

type Given = Readonly<Record<string, unknown>>

/** Throws ARGUMENT_INVALID for an option that means nothing of what SOURCE is. */
export function refuseStrayOptions(options: Given, isMachine: boolean): void {
  const stray = (isMachine ? Object.keys(NOT_OF_MACHINES) : OF_MACHINES).find(
    name => options[name] !== undefined && options[name] !== false,
  )
  if (stray === undefined) return
  throw new MoverError(
    'ARGUMENT_INVALID',
    isMachine
      ? `--${stray} means nothing where SOURCE is a machine: ${NOT_OF_MACHINES[stray]}`
      : `--${stray} means nothing where SOURCE is no machine`,
    {
      remedy:
        stray === 'dry-run'
          ? 'mover cbt status SOURCE says what its disks would be read by, and changes nothing'
          : `leave out --${stray}`,
    },
  )
}

export interface MachineCommand {
  readonly options: {
    readonly scratch: string | undefined
    readonly 'scratch-bytes': number | undefined
    readonly 'nbd-socket': string | undefined
  }
  readonly request: Omit<BackupMachineOptions, 'machine'>
  readonly report: Report
  readonly repositoryOption: string
}

/** Backs up the machine of that name, and reports one result for all of its disks. */
export async function backUpMachine(
  name: string,
  { options, request, report, repositoryOption }: MachineCommand,
): Promise<void> {
  const { openMachine } = await import('../open-machine.js')
  await using machine = await openMachine(name, {
    signal: request.signal,
    ...given({
      scratch: options.scratch,
      scratchBytes: options['scratch-bytes'],
      nbdSocket: options['nbd-socket'],
    }),
  })
  const { backupMachine } = await import('../backup-machine.js')
  const result = await followJob(backupMachine({ machine, ...request }), report)
  await report.result(result, {
    summary: machineSummary(result, repositoryOption),
    bare: result.disks.flatMap(({ manifest }) => manifest ?? []),
  })
}

/** One disk is told of as any backup; several one after the other, and then what they are together. */
export function machineSummary(
  { machine, set, disks, seconds }: BackupMachineResult,
  repositoryOption: string,
): readonly string[] {
  const lines = disks.flatMap((disk, position) => [
    ...(position === 0 ? [] : ['']),
    ...backupSummary(disk, repositoryOption),
  ])
  if (set === null) return lines
  const what = `${disks.length} disks of ${printable(machine)} at one moment`
  return [...lines, '', `set ${set}: ${what}, in ${formatDuration(seconds)}`]
}
