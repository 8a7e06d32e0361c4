import { MoverError } from '../core/errors.js'
import { BUDGET_OPTIONS } from './budget-options.js'
import { defineCommand } from './command.js'
import { damageExitCode } from './damage-lines.js'
import { followJob } from './follow-job.js'
import { given } from './given.js'
import { MANIFEST_OPERAND } from './manifest-operand.js'
import { openRepositoryOf } from './repository-of.js'
import { verifySummary } from './verify-summary.js'

export const verifyCommand = defineCommand({
  name: 'verify',
  summary: 'read, decode and compare everything with its digest',
  notes: [
    'All manifests, or those named, and every chunk they need, each once. Damage is listed with the ' +
      'manifests and extents it hits, and makes the exit code 7; nothing is changed.',
  ],
  operands: { manifests: { ...MANIFEST_OPERAND, many: true } },
  options: {
    packs: {
      help: 'compare every pack as a whole with its name, at the speed of the disk; decode nothing; takes no MANIFEST and no --independent',
    },
    independent: {
      help: 'decode and hash with a second implementation, which shares no code with the first; slow',
    },
    ...BUDGET_OPTIONS,
  },
  examples: [
    { line: 'mover verify', says: 'everything that could be restored' },
    { line: 'mover verify vm-42/sda@latest --independent', says: 'one state, by other code' },
  ],
  whenCancelled: 'nothing was changed; what was not reached was not checked',

  async run(context) {
    const { options, operands, report, signal } = context
    refuseContradictions(options, operands.manifests.length)
    await using repository = await openRepositoryOf(context)
    const { verify } = await import('../verify.js')
    const job = verify({
      repository,
      packs: options.packs,
      independent: options.independent,
      signal,
      ...given({
        manifests: operands.manifests.length === 0 ? undefined : operands.manifests,
        workers: options.workers,
        bytesPerSecond: options.rate,
        bytesInFlight: options['in-flight'],
      }),
    })
    const result = await followJob(job, report)
    await report.result(result, { summary: verifySummary(result) })
    return damageExitCode(result.damage)
  },
})

/** A pack is whole or not, whichever manifest asks; and what is not decoded cannot be decoded twice. */
function refuseContradictions(
  { packs, independent }: { readonly packs: boolean; readonly independent: boolean },
  manifests: number,
): void {
  if (!packs || (!independent && manifests === 0)) return
  const other = independent ? '--independent' : 'MANIFEST'
  throw new MoverError(
    'ARGUMENT_INVALID',
    `--packs reads every pack as a whole, so ${other} contradicts it`,
    {
      remedy: `run verify twice, once with --packs and once with ${other}`,
    },
  )
}
