import { MoverError } from '../core/errors.js'
import type { Extent } from '../core/extent.js'
import { formatBytes, formatDuration } from '../core/units.js'
import { defineCommand, type Context } from './command.js'
import { EXIT_CODES } from './exit-codes.js'
import { followJob } from './follow-job.js'
import { given } from './given.js'
import { MANIFEST_OPERAND } from './manifest-operand.js'
import { parseRange } from './option-values.js'
import { openRepositoryOf } from './repository-of.js'

export const catCommand = defineCommand({
  name: 'cat',
  summary: 'write the bytes of a volume, checked, to stdout',
  notes: [
    'Bytes go out in order, each chunk only after it was compared with its digest; the exit code ' +
      'says whether all of them did. They are not written to a terminal. As stdout holds the bytes, ' +
      '--json and the summary go to stderr.',
  ],
  operands: { manifest: MANIFEST_OPERAND },
  options: {
    range: {
      value: 'OFFSET+LENGTH',
      parse: parseRange,
      help: 'only these bytes of the volume, such as 1MiB+64KiB; by default all',
    },
  },
  examples: [
    { line: 'mover cat vm-42/sda@latest | cmp - /dev/vg0/snap', says: 'compare with the source' },
    { line: 'mover cat latest --range 0+512 | file -', says: 'look at the first sector' },
  ],
  whenCancelled: 'what came out is right, but not all of it',

  takesStdout: () => true,
  run: context =>
    catToStdout({ context, manifest: context.operands.manifest, range: context.options.range }),
})

export interface CatToStdout {
  readonly context: Pick<Context, 'repositoryPath' | 'signal' | 'report' | 'io'>
  readonly manifest: string
  readonly range: Extent | undefined
}

/** Writes a volume's bytes to stdout. Throws TARGET_REFUSED where that is a terminal. */
export async function catToStdout({ context, manifest, range }: CatToStdout): Promise<number> {
  const { io, report, signal } = context
  if (io.stdout.isTTY) {
    throw new MoverError('TARGET_REFUSED', 'stdout is a terminal, and a volume is not text', {
      remedy: 'send it to a file or a pipe: mover cat MANIFEST > FILE',
    })
  }
  await using repository = await openRepositoryOf(context)
  const { cat } = await import('../cat.js')
  const job = cat({
    repository,
    manifest,
    output: io.stdoutDescriptor,
    signal,
    ...given({ range }),
  })
  const result = await followJob(job, report)
  const time = formatDuration(result.seconds)
  await report.result(result, { summary: [`${formatBytes(result.bytes)} in ${time}`] })
  return EXIT_CODES.done
}
