import { formatDuration } from '../core/units.js'
import type { RebuildIndexResult } from '../rebuild-index.js'
import { defineCommand } from './command.js'
import { damageExitCode, damageLines } from './damage-lines.js'
import { followJob } from './follow-job.js'
import { openRepositoryOf } from './repository-of.js'
import { alignFields } from './table.js'

export const rebuildIndexCommand = defineCommand({
  name: 'rebuild-index',
  summary: 'make the chunk index anew, from the packs alone',
  notes: [
    'For a repository whose index segments are damaged or lost. The tables of the packs are read, and ' +
      'no chunk is checked: verify does that. A pack that cannot be read is listed, and makes the exit ' +
      'code 7.',
  ],
  operands: {},
  options: {},
  examples: [{ line: 'mover rebuild-index && mover verify', says: 'after verify named a segment' }],
  whenCancelled: 'nothing is lost: old segments are removed only once the new ones are durable',

  async run(context) {
    const { report, signal } = context
    await using repository = await openRepositoryOf(context)
    const { rebuildIndex } = await import('../rebuild-index.js')
    const result = await followJob(rebuildIndex({ repository, signal }), report)
    await report.result(result, { summary: rebuildSummary(result) })
    return damageExitCode(result.damage)
  },
})

/** What the new index holds, and what could not be read into it. */
function rebuildSummary(result: RebuildIndexResult): readonly string[] {
  return [
    ...alignFields([
      ['packs', String(result.packs)],
      ['entries', String(result.entries)],
      ['segments', String(result.segments)],
      ['time', formatDuration(result.seconds)],
      ['unreadable', result.damage.length === 0 ? 'no pack' : String(result.damage.length)],
    ]),
    ...damageLines(result.damage),
  ]
}
